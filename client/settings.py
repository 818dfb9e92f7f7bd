"""The client's settings, read from the environment (prefix ``SEGLOOP_``); each is an option of the commands too."""

from pathlib import Path

from pydantic_settings import BaseSettings, SettingsConfigDict

DEFAULT_URL = "http://127.0.0.1:8080/dicom-web"


class ClientSettings(BaseSettings):
    """``SEGLOOP_URL``: the gateway's DICOMweb root. ``SEGLOOP_TOKEN_FILE``: a file that holds our bearer token."""

    model_config = SettingsConfigDict(env_prefix="SEGLOOP_", env_ignore_empty=True, frozen=True)

    url: str = DEFAULT_URL
    token_file: Path | None = None
