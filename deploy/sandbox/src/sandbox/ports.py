"""Ports: which loopback port may a private server use?"""

import os
import random
import socket
from pathlib import Path

from sandbox.errors import PortOccupied

# Below the range that the kernel hands out to outgoing connections, so that a port kept
# between runs is rarely taken by one.
_CHOICE = range(20_000, 32_000)


def free_port(preferred: int | None = None) -> int:
    """`preferred` if nobody listens there, else some port of 127.0.0.1 that is free now."""
    if preferred is not None and is_free(preferred):
        return preferred
    for port in random.sample(_CHOICE, k=200):
        if is_free(port):
            return port
    raise PortOccupied(f"no free port of 127.0.0.1 between {_CHOICE.start} and {_CHOICE.stop}")


def fixed_port(port: int, variable: str) -> int:
    """`port`, which `variable` asked for. Raises PortOccupied, naming the holder if it can be seen."""
    if is_free(port):
        return port
    held_by = holder(port) or "a process that is not visible to this user"
    raise PortOccupied(
        f"port {port} (from {variable}) is held by {held_by}: stop it, set {variable} to another port, "
        f"or unset {variable} to let a free one be chosen"
    )


def is_free(port: int) -> bool:
    """Whether a server could listen on 127.0.0.1:`port` now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def holder(port: int) -> str | None:
    """The process that listens on `port` as "name (pid n)", if this user may see it."""
    sockets = {f"socket:[{inode}]" for inode in _listening_inodes(port)}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(os.readlink(fd) in sockets for fd in (process / "fd").iterdir()):
                return f"{(process / 'comm').read_text().strip()} (pid {process.name})"
        except OSError:  # gone meanwhile, or another user's
            continue
    return None


def _listening_inodes(port: int) -> set[str]:
    inodes = set()
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        for line in table.read_text().splitlines()[1:] if table.exists() else []:
            fields = line.split()
            if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                inodes.add(fields[9])
    return inodes
