"""Laws of derived UIDs."""

import subprocess
import sys
import tomllib
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from pydicom.uid import UID

from contracts import identifiers
from contracts.identifiers import derive_uid

ROOT = Path(__file__).resolve().parents[2]

parts = st.lists(st.text(max_size=20), max_size=6)


@given(parts)
def test_every_uid_is_valid_and_short_enough(names: list[str]) -> None:
    uid = UID(derive_uid(*names))
    assert uid.is_valid
    assert len(uid) <= 44
    assert uid.startswith("2.25.")


@given(parts, parts)
def test_uids_are_equal_exactly_where_their_parts_are(one: list[str], other: list[str]) -> None:
    assert (derive_uid(*one) == derive_uid(*other)) == (one == other)


def test_where_a_part_ends_matters() -> None:
    assert derive_uid("a", "bc") != derive_uid("ab", "c")
    assert derive_uid("abc") != derive_uid("abc", "")
    assert derive_uid("1:a,", "b") != derive_uid("1:a,1:b,")


def test_another_process_derives_the_same() -> None:
    code = "from contracts.identifiers import derive_uid; print(derive_uid('stack', 'phase', '3'))"
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == derive_uid("stack", "phase", "3")


def test_our_own_identifiers_fit_their_attributes() -> None:
    assert UID(identifiers.DEVICE_UID).is_valid
    assert UID(identifiers.IMPLEMENTATION_CLASS_UID).is_valid
    assert identifiers.DEVICE_UID != identifiers.IMPLEMENTATION_CLASS_UID
    assert len(identifiers.IMPLEMENTATION_VERSION_NAME) <= 16
    assert len(identifiers.DEVICE_SERIAL_NUMBER) <= 64


def test_results_name_the_version_of_this_software() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["version"] == identifiers.SOFTWARE_VERSION
