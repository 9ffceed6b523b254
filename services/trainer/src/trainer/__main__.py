"""`python -m trainer`: one trainer, until SIGTERM or SIGINT."""

from common.service import run
from trainer.app import create_app
from trainer.settings import Settings

if __name__ == "__main__":
    run("trainer", Settings, create_app, port_variable="TRAINER_PORT")
