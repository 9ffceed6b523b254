"""Settings that two or more services share, read from the environment.

One class per concern; a service's own `Settings` inherits the groups it needs. The type carries the
range, the line under a field its meaning and unit. Invalid settings stop a service at start with every
problem at once, each named by its variable and never showing a secret.
"""

import ssl
import sys
from pathlib import Path
from typing import Annotated, Literal, NoReturn, Self, TypeVar
from urllib.parse import quote

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PositiveFloat,
    PositiveInt,
    PrivateAttr,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from common import secret_settings, strategies_file
from common.core.trading_state import TradingState
from common.strategies_file import StrategiesFile
from common.tls import CaFile, trusting

EXIT_BAD_CONFIGURATION = 78
"""`EX_CONFIG` of sysexits.h: a supervisor that restarts on it restarts for nothing."""

Port = Annotated[int, Field(ge=1, le=65535)]


def split(value: object) -> object:
    """`a, b` as ("a", "b"); what is no text stays as it is."""
    if isinstance(value, str):
        return tuple(item.strip() for item in value.split(",") if item.strip())
    return value


def _scheme(*schemes: str) -> AfterValidator:
    def check(url: SecretStr) -> SecretStr:
        if url.get_secret_value().split("://", 1)[0] not in schemes:
            raise ValueError(f"must start with {schemes[0]}://")
        return url

    return AfterValidator(check)


def _strategy_ids(ids: tuple[str, ...]) -> tuple[str, ...]:
    if not all(len(each) <= 100 for each in ids):
        raise ValueError("a strategy id has 1 to 100 characters")
    if len(set(ids)) != len(ids):
        raise ValueError("names a strategy twice")
    return ids


CommaSeparated = Annotated[tuple[str, ...], NoDecode, BeforeValidator(split)]
"""`a,b` in the environment, `("a", "b")` in code."""


class SettingsGroup(BaseSettings):
    """Reads the environment, and the files that it names for secrets; unset and empty are the same."""

    model_config = SettingsConfigDict(
        env_ignore_empty=True, frozen=True, extra="ignore", use_attribute_docstrings=True
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - pydantic hands it over by name
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - as above
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What the code says goes before a variable, and that before the file of a secret."""
        return init_settings, env_settings, secret_settings.SecretFiles(settings_cls)

    @field_validator("*", mode="before")
    @classmethod
    def _file_was_read(cls, value: object) -> object:
        if isinstance(value, secret_settings.Unreadable):
            raise ValueError(str(value))  # noqa: TRY004 - pydantic collects ValueError
        return value

    def secrets_in_use(self) -> dict[str, str]:
        """The secrets that others expect of us, by variable; of a URL its password."""
        return secret_settings.in_use({name: getattr(self, name) for name in type(self).model_fields})


class DatabaseSettings(SettingsGroup):
    """How to reach PostgreSQL, and how long to wait for it."""

    database_url: Annotated[SecretStr, _scheme("postgresql", "postgres")] | None = None
    """Overrides the five POSTGRES_ variables: `postgresql://user:password@host:port/name`."""
    postgres_host: str = "localhost"
    """Host of the shared PostgreSQL."""
    postgres_port: Port = 5432
    """Its port."""
    postgres_db: str = "postgres"
    """Its database."""
    postgres_user: str = "postgres"
    """The role to connect as."""
    postgres_password: SecretStr = SecretStr("")
    """The role's password."""
    postgres_sslmode: Literal["disable", "prefer", "require", "verify-ca", "verify-full"] | None = None
    """As libpq knows it: verify-full beside real money; unset: as DATABASE_URL says, else prefer."""
    postgres_sslrootcert: CaFile | None = None
    """File of the authorities (PEM) that verify-ca and verify-full believe; unset: those of the machine."""
    database_pool_size: PositiveInt = 10
    """Connections that one process keeps at most."""
    database_acquire_timeout_seconds: PositiveFloat = 1.0
    """Longest wait for a free connection, in seconds."""
    database_statement_timeout_ms: PositiveInt = 250
    """Longest run of one statement, in milliseconds."""
    database_idle_in_transaction_timeout_ms: PositiveInt = 10_000
    """A transaction idle for longer is ended: the fence against a frozen process, in milliseconds."""

    @model_validator(mode="after")
    def _verifies_where_it_says_so(self) -> Self:
        if self.postgres_sslrootcert and self.postgres_sslmode not in {"verify-ca", "verify-full"}:
            raise ValueError("POSTGRES_SSLROOTCERT needs POSTGRES_SSLMODE verify-ca or verify-full")
        if self.database_url and "sslrootcert=" in self.database_url.get_secret_value():
            raise ValueError("DATABASE_URL: name the file of sslrootcert in POSTGRES_SSLROOTCERT")
        return self

    def database_tls(self) -> ssl.SSLContext | str | None:
        """What asyncpg takes for `ssl`; None: what the URL says."""
        if self.postgres_sslmode in {"verify-ca", "verify-full"}:
            return trusting(self.postgres_sslrootcert, names_host=self.postgres_sslmode == "verify-full")
        return self.postgres_sslmode

    def sqlalchemy_url(self) -> str:
        """The URL with the asyncpg driver named."""
        url = self.database_url.get_secret_value() if self.database_url else self._url_of_parts()
        # libpq and the neighbours say sslmode, asyncpg says ssl.
        return "postgresql+asyncpg://" + url.split("://", 1)[-1].replace("sslmode=", "ssl=")

    def _url_of_parts(self) -> str:
        password = quote(self.postgres_password.get_secret_value(), safe="")
        user = quote(self.postgres_user, safe="")
        return f"postgresql://{user}:{password}@{self.postgres_host}:{self.postgres_port}/{self.postgres_db}"


class BusSettings(SettingsGroup):
    """How to reach RabbitMQ."""

    rabbitmq_url: Annotated[SecretStr, _scheme("amqp", "amqps")] | None = None
    """Overrides the four RABBITMQ_ variables: `amqp://user:password@host:port/vhost`."""
    rabbitmq_host: str = "localhost"
    """Host of the broker."""
    rabbitmq_port: Port = 5672
    """Its port."""
    rabbitmq_user: str = "guest"
    """The user to connect as."""
    rabbitmq_password: SecretStr = SecretStr("guest")
    """The user's password."""
    rabbitmq_tls: bool = False
    """Encrypted, certificate and host name verified (port 5671); RABBITMQ_URL says amqps:// instead."""
    rabbitmq_ca_file: CaFile | None = None
    """File of the authorities (PEM) that the broker's certificate is verified by; unset: the machine's."""

    @model_validator(mode="after")
    def _broker_is_verified_where_it_says_so(self) -> Self:
        if self.rabbitmq_ca_file and not self.amqp_url().startswith("amqps:"):
            raise ValueError("RABBITMQ_CA_FILE needs RABBITMQ_TLS, or a RABBITMQ_URL of amqps://")
        return self

    def broker_tls(self) -> ssl.SSLContext | None:
        """How the broker is verified; None: the connection is not encrypted."""
        return trusting(self.rabbitmq_ca_file) if self.amqp_url().startswith("amqps:") else None

    def amqp_url(self) -> str:
        """The URL of the broker, credentials included."""
        if self.rabbitmq_url:
            return self.rabbitmq_url.get_secret_value()
        password = quote(self.rabbitmq_password.get_secret_value(), safe="")
        user = quote(self.rabbitmq_user, safe="")
        scheme = "amqps" if self.rabbitmq_tls else "amqp"
        return f"{scheme}://{user}:{password}@{self.rabbitmq_host}:{self.rabbitmq_port}/"


class ProcessSettings(SettingsGroup):
    """What every service process has."""

    listen_host: str = "127.0.0.1"
    """Address that health and metrics listen on; containers set 0.0.0.0."""
    model_service_log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """Lowest level that is logged."""


class StrategySettings(SettingsGroup):
    """What is traded, and by which strategies."""

    trading_strategies: Annotated[CommaSeparated, AfterValidator(_strategy_ids)] = ()
    """Strategy ids, comma separated; empty: one strategy named `default`."""
    trading_symbols: CommaSeparated = ()
    """Symbols to trade, comma separated; empty: all of the stream (polling and training need them named)."""
    strategies_file: Path | None = None
    """A file strategies.toml with what differs from strategy to strategy; unset: nothing does."""

    _overrides: StrategiesFile = PrivateAttr(default_factory=StrategiesFile)

    @model_validator(mode="after")
    def _reads_strategies_file(self) -> Self:
        if self.strategies_file is not None:
            try:
                self._overrides = strategies_file.read(self.strategies_file, self.strategies())
            except ValueError as error:
                raise ValueError(f"STRATEGIES_FILE: {error}") from error
        return self

    def strategies(self) -> tuple[str, ...]:
        """The strategy ids that the fleet runs."""
        return self.trading_strategies or ("default",)

    def symbols_of(self, strategy_id: str) -> tuple[str, ...]:
        """What the strategy trades: its own symbols, else TRADING_SYMBOLS; empty: all of the stream."""
        return self._overrides.symbols.get(strategy_id, self.trading_symbols)

    def of_strategy(self, strategy_id: str, symbol: str | None = None) -> Self:
        """These settings with what strategies.toml says of the strategy, and of its `symbol`.

        Raises ValueError naming file, table and key where that gives invalid settings.
        """
        own = type(self).model_fields
        overrides = {
            name: value
            for name, value in self._overrides.overrides(strategy_id, symbol).items()
            if name in own
        }
        if not overrides:
            return self
        values = {name: getattr(self, name) for name in own}
        try:
            changed = type(self)(**{**values, **overrides, "strategies_file": None})
        except ValidationError as error:
            table = strategy_id if symbol is None else f"{strategy_id}.symbol.{symbol}"
            wrong = [
                f"{each['loc'][0] if each['loc'] else ''} {each['msg'].removeprefix('Value error, ')}".strip()
                for each in error.errors(include_input=False, include_url=False)
            ]
            raise ValueError(f"{self.strategies_file}: [{table}] {'; '.join(wrong)}") from error
        changed._overrides = self._overrides
        return changed

    def strategy_problems(self) -> list[str]:
        """One line per table of strategies.toml that gives invalid settings."""
        found = []
        for strategy_id, symbol in self._overrides.tables():
            try:
                self.of_strategy(strategy_id, symbol)
            except ValueError as error:
                found.append(f"STRATEGIES_FILE: {error}")
        return found


class TradingStateSettings(SettingsGroup):
    """How much may be traded before anybody said so."""

    trading_state_initial: TradingState = TradingState.ACTIVE
    """State while nothing is stored: HALTED is advised for the first day beside real money."""


class ModelStorageSettings(SettingsGroup):
    """Where versions lie."""

    model_storage_path: Path = Path("/models")
    """Directory of the saved versions: the trainer writes it, everybody else only reads it."""
    model_storage_url: str | None = None
    """A bucket instead, `s3://bucket/prefix`, reached by the AWS_ variables; unset: MODEL_STORAGE_PATH."""
    model_min_free_bytes: Annotated[int, Field(ge=0)] = 1_000_000_000
    """Free bytes below which no training begins, where models or datasets are stored; 0: no limit."""


class NeighbourSettings(SettingsGroup):
    """How the platform's services are verified that are asked over https."""

    neighbour_ca_file: CaFile | None = None
    """File of the authorities (PEM) that certificates of https are verified by; unset: the machine's."""


class FeatureServiceSettings(NeighbourSettings):
    """How to reach the Feature Service."""

    feature_service_scheme: Literal["http", "https"] = "http"
    """https: encrypted, certificate and host name verified."""

    feature_service_host: str = "localhost"
    """Host of the Feature Service."""
    feature_service_port: Port = 4900
    """Its port."""
    feature_service_api_key: SecretStr = SecretStr("")
    """Sent as X-API-Key."""
    feature_service_timeout_seconds: PositiveFloat = 5.0
    """Longest wait for one answer, in seconds."""

    def feature_service_url(self) -> str:
        """Base URL of its REST interface."""
        return f"{self.feature_service_scheme}://{self.feature_service_host}:{self.feature_service_port}"


S = TypeVar("S", bound=SettingsGroup)


def load(settings_type: type[S], *, needs_secrets: bool = False) -> S:
    """The settings of this process, or exit 78 after one line per problem on standard error.

    Where it `needs_secrets`, one that is empty or an example is a problem.
    """
    try:
        settings = settings_type()
    except ValidationError as error:
        _refuse(problems(settings_type, error))
    wrong = list(secret_settings.refused(settings.secrets_in_use())) if needs_secrets else []
    if isinstance(settings, StrategySettings):
        wrong += settings.strategy_problems()
    if wrong:
        _refuse(wrong)
    return settings


def problems(settings_type: type[SettingsGroup], error: ValidationError) -> list[str]:
    """One line per invalid setting or combination: its variable and what is wrong, never its value."""
    found = error.errors(include_input=False, include_url=False)
    invalid = {str(each["loc"][0]) for each in found if each["loc"]}
    lines = [_line(each["loc"], each["msg"]) for each in found]
    if invalid:
        # Pydantic looks at combinations only once every single value is valid.
        names = {name.upper() for name in invalid}
        lines += [
            line for line in _combination_problems(settings_type, invalid) if not _names_any(line, names)
        ]
    return lines


def _refuse(lines: list[str]) -> NoReturn:
    listed = "\n".join(f"  {line}" for line in lines)
    sys.stderr.write(f"invalid settings, nothing was started:\n{listed}\n")
    raise SystemExit(EXIT_BAD_CONFIGURATION)


def _combination_problems(settings_type: type[SettingsGroup], invalid: set[str]) -> list[str]:
    fields = settings_type.model_fields
    try:
        settings_type(**{name: fields[name].get_default(call_default_factory=True) for name in invalid})
    except ValidationError as error:
        return [_line(each["loc"], each["msg"]) for each in error.errors(include_input=False)]
    return []


def _names_any(line: str, names: set[str]) -> bool:
    return any(name in line for name in names)


def _line(location: tuple[int | str, ...], message: str) -> str:
    message = message.removeprefix("Value error, ")
    return f"{location[0]}".upper() + f": {message}" if location else message
