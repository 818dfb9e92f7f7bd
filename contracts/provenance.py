"""Where a result comes from, and what every result of ours carries because of it: identifiers, device, times, bytes."""

import io
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone

from pydicom import Dataset
from pydicom.uid import UID

from contracts import identifiers
from contracts.tasks import Task


@dataclass(frozen=True)
class Provenance:
    """How a result came about; everything in it that is ours derives from this and from the sources.

    ``algorithm_version`` and ``model_digest`` are the model's, ``variant`` says which form of it ran, ``stack_digest``
    is that of the input. ``completeness`` is the record of why the study counted as complete, ``completed_at`` its
    time in seconds since 1970 UTC: the one source of every date and time in the result. ``predecessors`` are SOP
    Instance UIDs of the results that this one supersedes, ``predecessor_series`` the series they stand in.
    """

    task: Task
    algorithm_name: str
    algorithm_version: str
    model_digest: str
    variant: str
    stack_digest: str
    completed_at: float
    completeness: str
    revision: int = 1
    predecessors: tuple[str, ...] = ()
    predecessor_series: str = ""

    @property
    def work(self) -> tuple[str, ...]:
        """What every UID of the results derives from: equal work gives equal UIDs, in every process."""
        return (
            self.task,
            self.stack_digest,
            self.completeness,
            self.model_digest,
            self.variant,
            str(self.revision),
        )


def stamp(result: Dataset, provenance: Provenance) -> None:
    """Name this program as the device, and replace every time that was taken from the clock by that of completeness.

    Dates and times are given in the zone that ``result`` names (0008,0201), else in UTC.
    """
    result.DeviceUID = identifiers.DEVICE_UID
    moment = datetime.fromtimestamp(provenance.completed_at, UTC)
    for item in result.ContributingEquipmentSequence:
        item.ContributionDateTime = moment.strftime("%Y%m%d%H%M%S.%f%z")
    local = moment.astimezone(_zone(result.get("TimezoneOffsetFromUTC")))
    for what in ("InstanceCreation", "Series", "Content"):
        setattr(result, f"{what}Date", local.strftime("%Y%m%d"))
        setattr(result, f"{what}Time", local.strftime("%H%M%S.%f"))


def _zone(offset: object) -> timezone:
    """Return the time zone of a TimezoneOffsetFromUTC such as "+0130"; UTC for none or nonsense."""
    try:
        return timezone(datetime.strptime(str(offset).strip(), "%z").utcoffset() or timedelta(0))
    except ValueError:
        return UTC


def file_of(result: Dataset) -> bytes:
    """Return a result as a DICOM file that names this implementation (PS3.10 section 7.1)."""
    result.file_meta.ImplementationClassUID = UID(identifiers.IMPLEMENTATION_CLASS_UID)
    result.file_meta.ImplementationVersionName = identifiers.IMPLEMENTATION_VERSION_NAME
    buffer = io.BytesIO()
    result.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
