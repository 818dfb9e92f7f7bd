"""Arrays out of numpy's archives, with our errors."""

from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from contracts.errors import Missing, Refused


def read_arrays(path: Path, *names: str) -> list[NDArray[Any]]:
    """Return arrays of an ``.npz`` file in the order of ``names``.

    Raises ``Missing`` ``no_case`` where there is no such file, ``Refused`` ``bad_case`` where it is no archive or an
    array is not in it.
    """
    if not path.is_file():
        raise Missing("no_case", f"There is no file {path}.")
    try:
        with path.open("rb") as stream, np.load(stream) as arrays:
            return [arrays[name] for name in names]
    except (KeyError, ValueError, TypeError, OSError, EOFError, BadZipFile) as error:
        raise Refused("bad_case", f"{path.name} is no archive with the arrays {', '.join(names)}.") from error
