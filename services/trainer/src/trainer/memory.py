"""How much memory there is: the machine's, or less where a control group says so, as containers have it."""

import os
from contextlib import suppress
from pathlib import Path

CONTROL_GROUP = Path("/sys/fs/cgroup")
_LIMITS = ("memory.max", "memory/memory.limit_in_bytes")


def memory_bytes(group: Path = CONTROL_GROUP) -> int:
    """What this process and its children may use together, at most."""
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for name in _LIMITS:
        with suppress(OSError, ValueError):  # no such group, or `max`
            found.append(int((group / name).read_text()))
    return min(found)
