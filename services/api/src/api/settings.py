"""The API's settings."""

from typing import Annotated

from pydantic import AfterValidator, Field, PositiveInt, SecretStr

from common.settings import (
    BusSettings,
    DatabaseSettings,
    ModelStorageSettings,
    Port,
    ProcessSettings,
    StrategySettings,
    TradingStateSettings,
)
from common.training_settings import TrainingQueueSettings


def _sendable(key: SecretStr) -> SecretStr:
    value = key.get_secret_value()
    if not value:
        raise ValueError("must hold the key that clients send as X-API-Key")
    if not all("!" <= character <= "~" for character in value):
        raise ValueError("must be printable ASCII without spaces: a header carries nothing else safely")
    return key


class Settings(
    DatabaseSettings,
    BusSettings,
    ProcessSettings,
    StrategySettings,
    TradingStateSettings,
    ModelStorageSettings,
    TrainingQueueSettings,
):
    """Everything that an operator can say to the API."""

    database_statement_timeout_ms: PositiveInt = 5_000
    """Longest run of one statement, in milliseconds."""
    model_service_port: Port = 4500
    """Port of the API; Grafana and neighbours know 4500."""
    model_service_api_key: Annotated[SecretStr, AfterValidator(_sendable), Field(validate_default=True)] = (
        SecretStr("")
    )
    """The key that clients send as X-API-Key; without one the API does not start."""
