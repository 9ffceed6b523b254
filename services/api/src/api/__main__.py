"""`python -m api`: one API process, until SIGTERM or SIGINT."""

from api.app import create_app, end_streams
from api.settings import Settings
from common.service import run

if __name__ == "__main__":
    run(
        "api",
        Settings,
        create_app,
        port_variable="MODEL_SERVICE_PORT",
        stopping=end_streams,
        loop="uvloop",
        http="httptools",
    )
