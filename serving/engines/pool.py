"""Which engine serves a task now, and the engines that are loaded."""

import threading
from pathlib import Path

from contracts.errors import Missing
from contracts.model_repository import serving
from contracts.tasks import Task
from serving.engines import Engine
from serving.engines.onnxruntime import OnnxRuntimeEngine
from serving.settings import Settings


class EnginePool:
    """Loads the version that the repository's history names as serving, once, and lets go of older ones."""

    def __init__(self, settings: Settings) -> None:
        """Nothing is loaded before it is asked for."""
        self._settings = settings
        self._lock = threading.Lock()
        self._loaded: dict[Task, tuple[Path, Engine]] = {}

    def has_model(self, task: Task) -> bool:
        """Whether some version serves the task."""
        return serving(self._settings.models, task.value) is not None

    def serving(self, task: Task) -> Engine:
        """Return the engine of the version that serves now.

        Raises ``Missing`` ``no_model`` where the task has none, and what loading raises.
        """
        found = serving(self._settings.models, task.value)
        if found is None:
            raise Missing("no_model", f"No model serves the task '{task.value}' yet: publish and promote one.")
        with self._lock:
            folder, engine = self._loaded.get(task, (None, None))
            if engine is None or folder != found.folder:
                engine = OnnxRuntimeEngine(found, threads=self._settings.threads, provider=self._settings.provider)
                self._loaded[task] = (found.folder, engine)
            return engine
