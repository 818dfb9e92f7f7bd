"""The gateway's parts on a folder, without its threads and servers: index, archive, intake, settler."""

import time
from collections.abc import Iterable
from pathlib import Path

from pydicom.dataset import FileDataset
from sqlalchemy import select
from sqlalchemy.orm import make_transient

from serving.archive import Archive
from serving.index.database import Database
from serving.index.models import StackVersion, Study
from serving.pipeline.settle import Settler
from serving.receive.activity import Activity
from serving.receive.ingest import Accepted, Intake
from serving.routing import Rule, load_rules
from serving.settings import Settings


class Parts:
    """What a gateway is made of, to be called by hand."""

    def __init__(self, home: Path, *, accept: bool = False, **settings: object) -> None:
        """``accept`` switches the rules' acceptance of one frame of reference per instance on."""
        self.settings = Settings(home=home, quiet_period_s=0, min_free_gb=0, **settings)
        self.db = Database(self.settings.sqlite_url)
        self.db.migrate()
        self.archive = Archive(home)
        self.activity = Activity()
        self.intake = Intake(self.db, self.archive, self.settings, self.activity)
        self.rules: tuple[Rule, ...] = tuple(
            rule.model_copy(update={"accept_per_instance_frame_of_reference": accept}) for rule in load_rules(None)
        )
        self.settler = Settler(self.db, self.activity, self.rules, self.settings)

    def close(self) -> None:
        """Give the connections back."""
        self.db.close()

    def receive(self, images: Iterable[FileDataset], source: str = "ae:TESTER") -> list[Accepted]:
        """Take DICOM objects in, as if they had been sent."""
        accepted = []
        for image in images:
            incoming = self.archive.incoming()
            image.save_as(incoming.path, enforce_file_format=True)
            incoming.size = incoming.path.stat().st_size
            accepted.append(self.intake.accept(incoming, source))
        return accepted

    def settle(self) -> int:
        """Settle what is due."""
        return self.settler.settle_due()

    def stacks(self, *, current: bool = True) -> list[StackVersion]:
        """The stack versions of all studies, oldest first, detached."""
        with self.db.read() as session:
            query = select(StackVersion).order_by(StackVersion.id)
            found = list(session.scalars(query.where(StackVersion.current) if current else query))
            for stack in found:
                session.expunge(stack)
                make_transient(stack)
        return found

    def wait_for_quiet(self, study_uid: str, seconds: float) -> None:
        """Let a study look as if its last instance came some seconds ago."""
        with self.db.write() as session:
            study = session.get_one(Study, study_uid)
            study.last_received_at = time.time() - seconds
