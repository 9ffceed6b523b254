"""What tests of real processes ask: does it still run, does it listen, does it happen soon?"""

import socket
import time
from collections.abc import Callable
from pathlib import Path


def runs(pid: int) -> bool:
    """Whether the process lives; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def listens(port: int) -> bool:
    """Whether somebody accepts connections on 127.0.0.1:`port`."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def soon(holds: Callable[[], bool], limit_s: float = 5.0) -> bool:
    """Whether `holds` comes true within the limit."""
    deadline = time.monotonic() + limit_s
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
