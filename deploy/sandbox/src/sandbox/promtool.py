"""promtool, which checks Prometheus' configuration and tests its rules: the machine's own, else Debian's."""

import shutil
from collections.abc import Callable
from pathlib import Path

from sandbox.debian_packages import unpack
from sandbox.errors import Missing


def promtool(packages: Path, report: Callable[[str], None], path: str | None = None) -> Path:
    """promtool from `path` (PATH where it is None), or from a private tree in `packages`. Raises Missing."""
    if installed := shutil.which("promtool", path=path):
        return Path(installed)
    tree = packages / "prometheus"
    try:
        unpack("prometheus", tree, own=("prometheus",), report=report)
    except Missing as reason:
        raise Missing(f"no promtool: {reason}. Install it (Debian: apt-get install prometheus)") from reason
    return tree / "usr" / "bin" / "promtool"
