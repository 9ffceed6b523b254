"""The trainer's settings."""

from common.settings import BusSettings, DatabaseSettings, Port, ProcessSettings


class Settings(DatabaseSettings, BusSettings, ProcessSettings):
    """Everything that an operator can say to a trainer."""

    trainer_port: Port = 4502
    """Port of health and metrics."""
