"""The API's settings."""

from common.settings import BusSettings, DatabaseSettings, Port, ProcessSettings


class Settings(DatabaseSettings, BusSettings, ProcessSettings):
    """Everything that an operator can say to the API."""

    model_service_port: Port = 4500
    """Port of the API; Grafana and neighbours know 4500."""
