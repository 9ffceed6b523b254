"""`python -m inference`: one inference worker, until SIGTERM or SIGINT."""

from common.service import run
from inference.app import create_app
from inference.settings import Settings

if __name__ == "__main__":
    run("inference", Settings, create_app, port_variable="INFERENCE_PORT")
