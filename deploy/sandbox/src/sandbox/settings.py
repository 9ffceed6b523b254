"""The sandbox's settings: which market, how fast, for how long."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal, Self, get_args

from pydantic import (
    AwareDatetime,
    BeforeValidator,
    Field,
    PositiveFloat,
    PositiveInt,
    SecretStr,
    model_validator,
)
from pydantic_settings import NoDecode

from common.settings import CommaSeparated, Port, SettingsGroup, split

DEFAULT_SYMBOLS = ("BTCUSDT", "ETHUSDT")


class MarketSettings(SettingsGroup):
    """The market that is simulated."""

    symbols: CommaSeparated = ()
    """Symbols, comma separated; empty: BTCUSDT and ETHUSDT, or with CANDLES as many of them as files."""
    candles: CommaSeparated = ()
    """Candle files (Parquet, feather, CSV) to replay, one per symbol in order; empty: a synthetic market."""
    seed: int = 7
    """Seed of the synthetic market."""
    sandbox_edge: Annotated[float, Field(ge=0, le=0.3)] = 0.08
    """Planted edge: accuracy of the true generator above the majority class."""
    sandbox_bar_seconds: PositiveFloat = 0.5
    """Length of one bar, wall and data time alike, in seconds."""
    sandbox_history_bars: PositiveInt = 60_000
    """Bars before the start; a candle file gives at most four fifths of itself."""
    sandbox_started_at: AwareDatetime | None = None
    """When live began, so that a restarted sandbox goes on with the same prices; empty: now."""

    def chosen_symbols(self) -> tuple[str, ...]:
        """The symbols to simulate."""
        return self.symbols or DEFAULT_SYMBOLS[: len(self.candles) or None]

    def candle_files(self) -> tuple[Path, ...]:
        """The files to replay."""
        return tuple(Path(name) for name in self.candles)

    def started_at(self) -> datetime:
        """The instant at which history ends and live begins."""
        return self.sandbox_started_at or datetime.now(UTC)

    @model_validator(mode="after")
    def _one_file_per_symbol(self) -> Self:
        if self.candles and len(self.candles) != len(self.chosen_symbols()):
            raise ValueError(
                f"CANDLES names {len(self.candles)} files for {len(self.chosen_symbols())} symbols: "
                "name one file per symbol of SYMBOLS, in order"
            )
        wrong = [symbol for symbol in self.symbols if not (symbol.isalnum() and symbol.isupper())]
        if wrong or len(set(self.symbols)) != len(self.symbols):
            raise ValueError("SYMBOLS must be different upper-case names such as BTCUSDT")
        return self


Part = Literal["feature_service", "feature_stream", "order_manager", "position_manager"]
"""A neighbour; the stream features.live counts as one, and the Order Manager brings the ws-gateway along."""
PARTS: tuple[Part, ...] = get_args(Part)


class SandboxSettings(MarketSettings):
    """The market, and where its neighbours are reached."""

    database_url: SecretStr
    """The platform's PostgreSQL."""
    rabbitmq_url: SecretStr
    """The platform's RabbitMQ."""
    sandbox_parts: Annotated[tuple[Part, ...], NoDecode, BeforeValidator(split)] = PARTS
    """Which neighbours this process plays: in processes of their own, any of them can be stopped."""
    feature_service_port: Port = 4900
    """Port of the simulated Feature Service."""
    feature_service_api_key: SecretStr = SecretStr("sandbox")
    """The key it asks for."""
    sandbox_seconds_per_dataset_row: Annotated[float, Field(ge=0)] = 0.00005
    """A dataset build makes it deaf for so many seconds per row, at least one second in all."""
    sandbox_datasets_path: Path | None = None
    """Directory of its datasets; empty: a temporary one, gone with the process."""
    position_manager_port: Port = 4800
    """Port of the simulated Position Manager."""
    position_manager_api_key: SecretStr = SecretStr("sandbox")
    """The key it asks for."""
    ws_gateway_port: Port = 4400
    """Port of the simulated ws-gateway."""
    listen_host: str = "127.0.0.1"
    """Address that all of them listen on."""
    model_service_log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """Lowest level that is logged."""
