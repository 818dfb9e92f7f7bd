"""From paths to DICOM files: folders, files and zips; what is no DICOM is named, never sent."""

import os
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom import dcmread

from contracts import dicom
from contracts.errors import Usage

MEDIA_DIRECTORY = "1.2.840.10008.1.3.10"
_TAGS = ["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID"]
_CHUNK = 1 << 20


@dataclass(frozen=True)
class DicomFile:
    """One file to send. ``name`` is what the user called it; UIDs are empty where the header cannot be read."""

    path: Path
    name: str
    size: int
    study_uid: str = ""
    sop_class_uid: str = ""
    sop_uid: str = ""
    transfer_syntax_uid: str = ""


@dataclass(frozen=True)
class Problem:
    """A file that was not sent or not stored, and why. ``passing``: the same file may be stored later."""

    name: str
    reason: str
    passing: bool = False


def collect(paths: Sequence[Path], scratch: Path) -> tuple[list[DicomFile], list[Problem]]:
    """Find every DICOM file under paths, in a stable order, and name what is skipped.

    Members of zips are unpacked into ``scratch`` under names of our own, so no member can choose where it lands.
    Raises ``Usage`` for a path that does not exist.
    """
    found: list[DicomFile] = []
    skipped: list[Problem] = []
    for path in paths:
        if not path.exists():
            raise Usage("no_such_path", f"There is no file or folder {path}.")
        for file in _walk(path):
            _take(file, scratch, found, skipped)
    return found, skipped


def _walk(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        yield path
        return
    for folder, subfolders, names in os.walk(path):
        subfolders.sort()
        yield from (Path(folder) / name for name in sorted(names))


def _take(path: Path, scratch: Path, found: list[DicomFile], skipped: list[Problem]) -> None:
    name = str(path)
    try:
        if is_dicom(path):
            _judge(path, name, found, skipped)
        elif path.is_file() and zipfile.is_zipfile(path):
            _unpack(path, scratch, found, skipped)
        else:
            skipped.append(Problem(name, "not DICOM"))
    except OSError as error:
        skipped.append(Problem(name, f"cannot be read: {error.strerror or error}"))


def is_dicom(path: Path) -> bool:
    """Whether a regular file has the prefix of PS3.10 section 7.1."""
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        return stream.read(132)[128:] == b"DICM"


def _judge(path: Path, name: str, found: list[DicomFile], skipped: list[Problem]) -> None:
    file = describe(path, name)
    if file.sop_class_uid == MEDIA_DIRECTORY:
        skipped.append(Problem(name, "a DICOMDIR, which only lists files"))
    else:
        found.append(file)


def describe(path: Path, name: str) -> DicomFile:
    """Read what sending needs to know; a damaged header leaves the UIDs empty, and the gateway says what is wrong."""
    size = path.stat().st_size
    try:
        with dicom.quiet():
            header = dcmread(path, stop_before_pixels=True, specific_tags=_TAGS)
        return DicomFile(
            path,
            name,
            size,
            str(header.get("StudyInstanceUID", "")),
            str(header.file_meta.get("MediaStorageSOPClassUID", "") or header.get("SOPClassUID", "")),
            str(header.file_meta.get("MediaStorageSOPInstanceUID", "") or header.get("SOPInstanceUID", "")),
            str(header.file_meta.get("TransferSyntaxUID", "")),
        )
    except Exception:  # pydicom raises almost anything on damaged files
        return DicomFile(path, name, size)


def _unpack(archive: Path, scratch: Path, found: list[DicomFile], skipped: list[Problem]) -> None:
    try:
        with zipfile.ZipFile(archive) as bundle:
            for member in sorted(bundle.infolist(), key=lambda entry: entry.filename):
                if not member.is_dir():
                    _unpack_member(bundle, member, f"{archive}!{member.filename}", scratch, found, skipped)
    except zipfile.BadZipFile:
        skipped.append(Problem(str(archive), "a damaged zip"))


def _unpack_member(
    bundle: zipfile.ZipFile,
    member: zipfile.ZipInfo,
    name: str,
    scratch: Path,
    found: list[DicomFile],
    skipped: list[Problem],
) -> None:
    target = scratch / f"{len(found) + len(skipped):06d}.dcm"
    try:
        with bundle.open(member) as source:
            head = source.read(132)
            if head[128:] != b"DICM":
                skipped.append(Problem(name, "not DICOM"))
                return
            with target.open("wb") as sink:
                sink.write(head)
                while chunk := source.read(_CHUNK):
                    sink.write(chunk)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError):
        skipped.append(Problem(name, "cannot be unpacked: damaged, encrypted or packed in an unknown way"))
        return
    _judge(target, name, found, skipped)
