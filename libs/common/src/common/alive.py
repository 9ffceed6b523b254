"""`python -m common.alive PORT_VARIABLE DEFAULT [PATH]`: exit code 0 while the process beside it answers.

What a container asks of itself. The port is the variable's value, the path `/health/live` unless it is named.
"""

import os
import sys
from http.client import HTTPConnection, HTTPException

TIMEOUT_S = 3.0


def main(arguments: list[str]) -> int:
    """Asks once. Exit code 1: no answer in time, or another than 200."""
    variable, default, *path = arguments
    connection = HTTPConnection("127.0.0.1", int(os.environ.get(variable) or default), timeout=TIMEOUT_S)
    try:
        connection.request("GET", path[0] if path else "/health/live")
        return 0 if connection.getresponse().status == 200 else 1
    except (OSError, HTTPException):
        return 1
    finally:
        connection.close()


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
