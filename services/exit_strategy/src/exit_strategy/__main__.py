"""`python -m exit_strategy`: one exit worker, until SIGTERM or SIGINT."""

from common.service import run
from exit_strategy.app import create_app
from exit_strategy.settings import Settings

if __name__ == "__main__":
    run("exit_strategy", Settings, create_app, port_variable="EXIT_STRATEGY_PORT")
