"""Which engine serves a task now, and the engines that are loaded."""

import threading

from contracts.model_repository import read_model, serving_version
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
        self._loaded: dict[Task, Engine] = {}

    def has_model(self, task: Task) -> bool:
        """Whether some version serves the task."""
        return serving_version(self._settings.models, task.value) is not None

    def serving(self, task: Task) -> Engine:
        """Return the engine of the version that serves now.

        Raises ``Missing`` ``no_model`` where the task has none, and what reading and loading raise.
        """
        version = serving_version(self._settings.models, task.value)
        with self._lock:
            loaded = self._loaded.get(task)
            if loaded is None or loaded.contract.version != version:
                model = read_model(self._settings.models, task.value, version)
                loaded = OnnxRuntimeEngine(model, threads=self._settings.threads, provider=self._settings.provider)
                self._loaded[task] = loaded
            return loaded
