"""`flotilla`: the fleet from a shell, over REST alone."""

import sys
from collections.abc import Sequence

from api.cli.root import app
from api.cli.service import Failed


def main(arguments: Sequence[str] | None = None) -> int:
    """Carries out one command; what went wrong is one sentence on stderr, and the exit code says its kind."""
    try:
        app(arguments)
    except Failed as error:
        sys.stderr.write(f"flotilla: {error}\n")
        return int(error.exit_code)
    return 0
