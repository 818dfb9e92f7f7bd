"""Settings of the training and export commands, from variables with the prefix ``SEGLOOP_``."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from contracts.errors import Missing
from contracts.tasks import Task

DATA_SETS = {Task.CARDIAC: "acdc", Task.PROSTATE: "prostate", Task.SKIN: "isic", Task.GLAND: "glas"}
"""Name of each task's data set: its folder below ``SEGLOOP_DATA``."""


class TrainingSettings(BaseSettings):
    """Where labelled data and models are."""

    model_config = SettingsConfigDict(env_prefix="SEGLOOP_", extra="ignore")

    data: Path | None = Field(default=None, description="folder of the labelled data sets, one folder each")
    model_repository: Path = Field(default=Path("model_repository"), description="folder of the models")


def data_folder(given: Path | None, name: str) -> Path:
    """Return the folder of a data set: the one given, else ``SEGLOOP_DATA/name``. Raises ``Missing`` ``no_data``."""
    base = TrainingSettings().data
    folder = given if given else (base / name if base else None)
    if folder is None:
        raise Missing("no_data", f"Name the data with --data, or set SEGLOOP_DATA to the folder that holds {name}/.")
    if not folder.is_dir():
        raise Missing("no_data", f"There is no folder {folder}.")
    return folder
