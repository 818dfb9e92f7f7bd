"""The DESTINATIONS file: what it may hold, and that every mistake in it is named at once."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import Usage
from serving.deliver.destinations import DimseDestination, StowDestination, load_destinations

GOOD = """
[[destination]]
name = "pacs"
protocol = "dimse"
ae_title = "PACS"
host = "10.0.0.5"
port = 104
sources = ["ae:MR SCANNER 1", "local"]

[[destination]]
name = "archive"
protocol = "stow"
url = "https://archive.example/dicom-web/"
token_file = "/run/token"
sources = ["*"]
phases = "all"
"""


def load(tmp_path: Path, text: str) -> tuple[DimseDestination | StowDestination, ...]:
    path = tmp_path / "destinations.toml"
    path.write_text(text)
    return load_destinations(path)


def test_both_protocols_are_read(tmp_path: Path) -> None:
    pacs, archive = load(tmp_path, GOOD)
    assert isinstance(pacs, DimseDestination)
    assert isinstance(archive, StowDestination)
    assert (pacs.address, pacs.phases, pacs.tls) == ("PACS@10.0.0.5:104", "ed-es", False)
    assert (archive.address, archive.phases) == ("https://archive.example/dicom-web", "all")


def test_no_file_and_an_empty_file_deliver_nothing(tmp_path: Path) -> None:
    assert load_destinations(None) == ()
    assert load(tmp_path, "") == ()


def test_every_problem_is_named_at_once(tmp_path: Path) -> None:
    text = """
    colour = "red"
    [[destination]]
    name = "a"
    protocol = "dimse"
    ae_title = "A_TITLE_THAT_IS_TOO_LONG"
    host = "h"
    port = 99999
    sources = ["scanner"]
    [[destination]]
    name = "a"
    protocol = "stow"
    url = "ftp://x"
    sources = []
    retries = 3
    [[destination]]
    name = "c"
    protocol = "fax"
    sources = ["*"]
    [[destination]]
    name = "d"
    protocol = "stow"
    url = "http://x"
    sources = ["*"]
    [[destination]]
    name = "d"
    protocol = "stow"
    url = "http://y"
    sources = ["*"]
    """
    with pytest.raises(Usage) as caught:
        load(tmp_path, text)
    sentence = caught.value.sentence
    expected = ("colour", "ae_title", "port", "sources.0", "a source is", "url", "retries", "fax", "'d' is used twice")
    for word in expected:
        assert word in sentence, word


@pytest.mark.parametrize(
    "text",
    ["[[destination", "[destination]\nname = 'a'", "destination = 3", "\xff\xfe"],
    ids=["toml", "table", "number", "x"],
)
def test_what_is_no_list_of_destinations_is_a_usage_error(tmp_path: Path, text: str) -> None:
    with pytest.raises(Usage):
        load(tmp_path, text)


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(Usage, match=r"absent\.toml"):
        load_destinations(tmp_path / "absent.toml")


SOURCES = st.one_of(
    st.just("local"),
    st.from_regex(r"ae:[A-Z0-9_]{1,16}", fullmatch=True),
    st.from_regex(r"token:[a-z0-9-]{1,10}", fullmatch=True),
)


@given(mapped=st.sets(SOURCES, min_size=1), senders=st.sets(SOURCES))
def test_a_destination_takes_what_its_sources_sent_and_nothing_else(mapped: set[str], senders: set[str]) -> None:
    place = StowDestination(name="n", protocol="stow", url="http://h", sources=tuple(mapped))
    assert place.takes(senders) == bool(mapped & senders)
    assert StowDestination(name="n", protocol="stow", url="http://h", sources=("*",)).takes(senders)
