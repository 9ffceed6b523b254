"""The API's settings."""

from typing import Annotated, Self

from pydantic import AfterValidator, Field, PositiveFloat, PositiveInt, SecretStr, model_validator

from common.exit_settings import ExitRuleSettings
from common.secret_settings import weakness
from common.settings import (
    BusSettings,
    DatabaseSettings,
    ModelStorageSettings,
    Port,
    ProcessSettings,
    TradingStateSettings,
)
from common.training_settings import TrainingQueueSettings


def _sendable(key: SecretStr) -> SecretStr:
    value = key.get_secret_value()
    if not value:
        raise ValueError("must hold the key that clients send as X-API-Key")
    if not all("!" <= character <= "~" for character in value):
        raise ValueError("must be printable ASCII without spaces: a header carries nothing else safely")
    if weak := weakness(value):
        raise ValueError(weak)
    return key


class Settings(
    DatabaseSettings,
    BusSettings,
    ProcessSettings,
    ExitRuleSettings,
    TradingStateSettings,
    ModelStorageSettings,
    TrainingQueueSettings,
):
    """Everything that an operator can say to the API."""

    database_statement_timeout_ms: PositiveInt = 5_000
    """Longest run of one statement, in milliseconds."""
    market_data_max_age_seconds: PositiveFloat = 60.0
    """A dead-lettered vector that is older is not sent once more, in seconds."""
    model_service_port: Port = 4500
    """Port of the API; Grafana and neighbours know 4500."""
    model_service_api_key: Annotated[SecretStr, AfterValidator(_sendable), Field(validate_default=True)] = (
        SecretStr("")
    )
    """The key that clients send as X-API-Key; without one the API does not start."""
    model_service_api_key_previous: Annotated[SecretStr, AfterValidator(_sendable)] | None = None
    """The key before, as good as the key while clients change over; unset: there is none."""
    model_service_readonly_api_key: Annotated[SecretStr, AfterValidator(_sendable)] | None = None
    """A second key, which reads everything and changes nothing; unset: there is none."""
    model_service_wrong_keys_per_minute: Annotated[int, Field(ge=1, le=10_000)] = 30
    """Requests with a missing or wrong key that one address may send in a minute before it gets 429."""
    model_service_event_poll_seconds: Annotated[float, Field(ge=0.05, le=10)] = 1.0
    """How often the event stream asks the database what is new while somebody listens, in seconds."""
    model_service_max_event_listeners: PositiveInt = 50
    """Clients that may hear the event stream of one API process at the same time."""

    @model_validator(mode="after")
    def _keys_differ(self) -> Self:
        if self.model_service_readonly_api_key == self.model_service_api_key:
            raise ValueError("MODEL_SERVICE_READONLY_API_KEY must not be MODEL_SERVICE_API_KEY")
        previous = self.model_service_api_key_previous
        if previous and previous in {self.model_service_api_key, self.model_service_readonly_api_key}:
            raise ValueError("MODEL_SERVICE_API_KEY_PREVIOUS must not be a key that is set already")
        return self
