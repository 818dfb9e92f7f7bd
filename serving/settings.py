"""Every setting of the gateway, read from the environment (prefix ``SEGLOOP_``) and nowhere else."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

LOOPBACK_NAMES = frozenset({"127.0.0.1", "localhost", "::1"})
SHIPPED_MODELS = Path(__file__).resolve().parent.parent / "model_repository"


class Settings(BaseSettings):
    """Settings of ``python -m serving``. Field descriptions are the text of ``--help`` and ``docs/settings.md``."""

    model_config = SettingsConfigDict(env_prefix="SEGLOOP_", env_ignore_empty=True, frozen=True)

    home: Path = Field(Path("var"), description="Folder of all state: archive, index, work in progress, models.")
    http_host: str = Field("127.0.0.1", description="Address the HTTP side listens on.")
    http_port: int = Field(8080, ge=0, le=65535, description="Port of the HTTP side.")
    dicom_host: str = Field("127.0.0.1", description="Address the DICOM side listens on.")
    dicom_port: int = Field(11112, ge=0, le=65535, description="Port of the DICOM side.")
    ae_title: str = Field(
        "SEGLOOP",
        description="Our own AE title: 1 to 16 characters of ASCII, no backslash.",
        pattern=r"^[!-\[\]-~][ -\[\]-~]{0,15}$",
    )
    database_url: str = Field("", description="SQLAlchemy address of the index. Empty: SQLite under HOME.")
    quiet_period_s: float = Field(
        60.0, ge=0, description="Seconds without a new instance after which a study counts as complete."
    )
    rules: Path | None = Field(None, description="TOML file that maps stacks to tasks. Empty: the shipped rules.")
    destinations: Path | None = Field(None, description="TOML file of the places results are delivered to.")
    tokens: Path | None = Field(None, description="File of bearer tokens, one a line: name, role, token.")
    allowed_ae_titles: str = Field(
        "", description="Comma separated calling AE titles that may store. Empty: any, on loopback only."
    )
    tls_certificate: Path | None = Field(
        None, description="PEM certificate of the HTTP side (and of DICOM with DICOM_TLS)."
    )
    tls_key: Path | None = Field(None, description="PEM key that belongs to TLS_CERTIFICATE.")
    tls_terminated_by_proxy: bool = Field(
        False, description="A reverse proxy ends TLS; tokens are then demanded on loopback too."
    )
    dicom_tls: bool = Field(False, description="Speak TLS on the DICOM port, with TLS_CERTIFICATE and TLS_KEY.")
    backend: str = Field(
        "onnxruntime", description="Inference engine: onnxruntime, inside this process.", pattern="^onnxruntime$"
    )
    model_repository: Path | None = Field(
        None, description="Folder of the models. Empty: HOME/models, seeded from the shipped ones."
    )
    threads: int = Field(0, ge=0, description="Inference threads. 0: as many as the machine has cores.")
    provider: str = Field(
        "", description="ONNX Runtime provider that must run, such as CUDAExecutionProvider. Empty: what is installed."
    )
    min_free_gb: float = Field(1.0, ge=0, description="Below this free disk space nothing new is accepted.")
    retention_days: float = Field(0.0, ge=0, description="Days after which a finished study is deleted. 0: never.")
    quarantine_mb: float = Field(500.0, ge=0, description="Disk space for unreadable objects; the oldest go first.")
    max_instance_gb: float = Field(4.0, gt=0, description="Largest object that is accepted.")
    webhook_url: str = Field("", description="Address that gets a POST for each stack that is refused, held or failed.")
    fault: str = Field("", description="For tests of recovery: name of the point at which the process kills itself.")

    @property
    def sqlite_url(self) -> str:
        """Address of the index, DATABASE_URL or the file under HOME."""
        return self.database_url or f"sqlite:///{self.home.resolve() / 'index.sqlite'}"

    @property
    def models(self) -> Path:
        """The model repository in use."""
        return self.model_repository or self.home / "models"

    @property
    def loopback(self) -> bool:
        """Whether both sides listen on this machine only."""
        return {self.http_host, self.dicom_host} <= LOOPBACK_NAMES

    @property
    def guarded(self) -> bool:
        """Whether callers must identify themselves: everywhere but on bare loopback."""
        return not self.loopback or self.tls_terminated_by_proxy
