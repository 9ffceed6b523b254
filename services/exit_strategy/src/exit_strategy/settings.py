"""The exit worker's settings."""

from common.settings import BusSettings, DatabaseSettings, Port, ProcessSettings


class Settings(DatabaseSettings, BusSettings, ProcessSettings):
    """Everything that an operator can say to an exit worker."""

    exit_strategy_port: Port = 4503
    """Port of health and metrics."""
