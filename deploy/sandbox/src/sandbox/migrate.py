"""`make migrate`: brings DATABASE_URL, or the demo's private PostgreSQL, to the newest schema."""

import os
import subprocess
import sys

from sandbox.errors import SetupError
from sandbox.servers import FLOTILLA, private_postgres


def main() -> int:
    """The exit status of the migration."""
    try:
        if url := os.environ.get("DATABASE_URL"):
            return _upgrade(url)
        with private_postgres(FLOTILLA / "demo", report=_report) as database:
            return _upgrade(database.url)
    except SetupError as reason:
        _report(str(reason))
        return 1


def _upgrade(url: str) -> int:
    command = [sys.executable, "-m", "migrations", "upgrade"]
    return subprocess.run(command, env={**os.environ, "DATABASE_URL": url}, check=False).returncode


def _report(line: str) -> None:
    print(f"flotilla: {line}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
