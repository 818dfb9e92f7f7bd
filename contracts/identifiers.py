"""Identifiers of what we make: the same work always gets the same ones, and they name this program as their maker."""

import uuid

_NAMESPACE = uuid.UUID("6b8f0d52-1f0e-5a3c-9c57-5d3c5b1f7a10")


def derive_uid(*parts: str) -> str:
    """Return a DICOM UID (PS3.5 section B.2, root 2.25) that depends on ``parts`` and on nothing else.

    Each part counts with its length, so ("a", "bc") and ("ab", "c") give different UIDs. At most 44 characters.
    """
    name = "".join(f"{len(part)}:{part}," for part in parts)
    return f"2.25.{uuid.uuid5(_NAMESPACE, name).int}"


MANUFACTURER = "segloop"
DEVICE_SERIAL_NUMBER = "segloop-1"
DEVICE_UID = derive_uid("segloop", "device")
"""Identifies this program as a device in all that it writes (0018,1002); never changes."""

IMPLEMENTATION_CLASS_UID = derive_uid("segloop", "implementation")
"""Implementation Class UID (0002,0012) of the files we write."""

IMPLEMENTATION_VERSION_NAME = "SEGLOOP"
"""Implementation Version Name (0002,0013), at most 16 characters."""

SOFTWARE_VERSION = "0.1.0"
"""Version of this software in all that it writes (0018,1020); the same as in ``pyproject.toml``."""
