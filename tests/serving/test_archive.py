"""Laws of the archive: what is kept stays as it is, names are our own, the quarantine stays below its cap."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import Broken, NotYet
from serving import archive as module
from serving.archive import Archive, Incoming


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(tmp_path / "home", quarantine_mb=0.001)


def received(archive: Archive, *pieces: bytes) -> Incoming:
    incoming = archive.incoming()
    for piece in pieces:
        incoming.write(piece)
    return incoming


@given(pieces=st.lists(st.binary(max_size=64), max_size=6))
def test_what_is_kept_is_what_was_written(tmp_path_factory: pytest.TempPathFactory, pieces: list[bytes]) -> None:
    archive = Archive(tmp_path_factory.getbasetemp() / "shared")
    incoming = archive.incoming()
    incoming.write(*pieces)
    key = archive.keep(incoming)
    assert archive.path(key).read_bytes() == b"".join(pieces)
    assert incoming.size == sum(map(len, pieces))
    assert incoming.path == archive.path(key)
    assert list((archive.home / "incoming").iterdir()) == []
    archive.remove([key])


def test_a_write_that_the_system_cuts_short_is_continued(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    def stingy(file: int, views: list[memoryview]) -> int:
        return os.write(file, views[0][:3])

    monkeypatch.setattr(module.os, "writev", stingy)
    incoming = archive.incoming()
    incoming.write(b"abcdefgh", b"", memoryview(b"ijkl"))
    assert archive.path(archive.keep(incoming)).read_bytes() == b"abcdefghijkl"


def test_bytes_are_on_the_disk_before_the_name_is(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    sync = os.fsync

    def noted(handle: int) -> None:
        order.append("folder" if os.path.isdir(f"/proc/self/fd/{handle}") else "file")
        sync(handle)

    monkeypatch.setattr(module.os, "fsync", noted)
    monkeypatch.setattr(Path, "rename", lambda path, target: order.append("rename") or os.rename(path, target))
    archive.keep(received(archive, b"x"))
    assert order == ["file", "rename", "folder"]


def test_a_full_disk_is_not_yet_and_nothing_stays(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    incoming = archive.incoming()
    monkeypatch.setattr(module.os, "writev", full)
    with pytest.raises(NotYet) as caught:
        incoming.write(b"x")
    incoming.discard()
    assert caught.value.code == "disk_full"
    assert list((archive.home / "incoming").iterdir()) == []


def test_low_disk_space_is_not_yet(archive: Archive) -> None:
    archive.check_space(0)
    with pytest.raises(NotYet):
        archive.check_space(archive.free_gb() + 1000)


@pytest.mark.parametrize("key", ["", "../x", "a" * 31, "A" * 32, "/etc/passwd", "a" * 32 + "\n"])
def test_only_our_own_keys_become_paths(archive: Archive, key: str) -> None:
    with pytest.raises(Broken):
        archive.path(key)


def test_the_quarantine_drops_its_oldest_and_stays_below_its_cap(archive: Archive) -> None:
    places = [archive.quarantine(received(archive, bytes(400)), "not_dicom") for _ in range(4)]
    assert [place.exists() for place in places] == [False, False, True, True]
    huge = archive.quarantine(received(archive, bytes(5000)), "not_dicom")
    assert not huge.exists()


def test_the_quarantine_is_counted_by_why(archive: Archive) -> None:
    assert archive.quarantined() == {}
    for why in ("not_dicom", "bad_uid", "not_dicom", "Ö-/"):
        archive.quarantine(received(archive, b"?"), why)
    assert archive.quarantined() == {"not_dicom": 2, "bad_uid": 1, "unreadable": 1}


@given(why=st.text(max_size=30))
def test_names_in_the_quarantine_are_harmless(tmp_path_factory: pytest.TempPathFactory, why: str) -> None:
    archive = Archive(tmp_path_factory.getbasetemp() / "named", quarantine_mb=1)
    place = archive.quarantine(received(archive, b"#!/bin/sh"), why)
    assert place.parent == archive.home / "quarantine"
    assert place.suffix == ".bin"
    assert not place.stat().st_mode & 0o111
    place.unlink()


def test_a_sweep_clears_what_a_crash_left_and_nothing_else(archive: Archive) -> None:
    known = archive.keep(received(archive, b"known"))
    orphan = archive.keep(received(archive, b"orphan"))
    half = received(archive, b"half")
    assert archive.sweep({known}) == (1, 1)
    assert archive.path(known).read_bytes() == b"known"
    assert not archive.path(orphan).exists()
    assert not half.path.exists()
    assert [place.read_bytes() for place in (archive.home / "quarantine").iterdir()] == [b"orphan"]
    assert archive.sweep({known}) == (0, 0)


def test_a_sweep_with_the_wrong_index_touches_nothing(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_ORPHANS", 2)
    keys = [archive.keep(received(archive, b"x")) for _ in range(3)]
    assert archive.sweep(set()) == (0, 0)
    assert all(archive.path(key).exists() for key in keys)


def test_discarding_twice_and_removing_what_is_gone_do_nothing(archive: Archive) -> None:
    incoming = received(archive, b"x")
    incoming.discard()
    incoming.discard()
    archive.remove(["0" * 32])
    assert list((archive.home / "incoming").iterdir()) == []
