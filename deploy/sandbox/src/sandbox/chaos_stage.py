"""The stage of a chaos run: which fleet it strikes, trading what, and how quickly things happen in it.

A bar is half a second long, so positions live for seconds, a model is trained in seconds, and what takes
days beside real money happens within a minute.
"""

from collections.abc import Mapping
from datetime import datetime

from sandbox.exit_cases import Setting, literal
from sandbox.fleet import Shape
from sandbox.paper_run import PaperRun
from sandbox.settings import MarketSettings
from sandbox.supervisor import Backoff

STRATEGIES: Mapping[str, tuple[str, ...]] = {
    "momentum": ("BTCUSDT", "ETHUSDT"),
    "reversal": ("SOLUSDT", "XRPUSDT"),
    "carry": ("ADAUSDT",),
}
"""Who trades what."""
SYMBOLS = tuple(symbol for symbols in STRATEGIES.values() for symbol in symbols)
AMOUNT_QUOTE = 150
RATE_LIMIT_PER_MINUTE = 100.0
BURST = 20
WARMUP_SIGNALS_PER_MINUTE = 60.0
VALIDITY_S = 5.0
_HISTORY_BARS = 8_000
_EDGE = 0.3
"""A market that a model learns in seconds: what is tried is the fleet, not the model."""

_EXITS: Mapping[str, Mapping[str, Setting]] = {
    "momentum": {
        "stop_loss_threshold_pct": -0.4,
        "model_service_take_profit_pct": 0.6,
    },
    "reversal": {
        "stop_loss_threshold_pct": -0.8,
        "model_service_take_profit_pct": 50,
        "trailing_stop_enabled": True,
        "trailing_stop_activation_pct": 0.3,
        "trailing_stop_distance_pct": 0.3,
    },
    "carry": {
        "stop_loss_threshold_pct": -1.2,
        "take_profit_ladder": "0.4:50,0.8:100",
        "time_based_exit_enabled": True,
        "time_based_exit_max_hours": round(20 / 3600, 6),
    },
}


def market_settings(seed: int, began: datetime) -> MarketSettings:
    """The market of a run: five symbols that a model can learn."""
    return MarketSettings(
        symbols=SYMBOLS,
        seed=seed,
        sandbox_edge=_EDGE,
        sandbox_history_bars=_HISTORY_BARS,
        sandbox_started_at=began,
    )


def shape(run: PaperRun, market: MarketSettings) -> Shape:
    """Three inference workers, two exit workers, two trainers, one API; every neighbour can be stopped."""
    strategies_file = run.directory / "strategies.toml"
    strategies_file.write_text(_strategies_toml())
    return Shape(
        strategies=tuple(STRATEGIES),
        inference_replicas=3,
        exit_replicas=2,
        trainer_replicas=2,
        neighbours_apart=True,
        restarts=Backoff(first_s=0.5, longest_s=2.0),
        changes={
            "SEED": str(market.seed),
            "SANDBOX_EDGE": str(market.sandbox_edge),
            "SANDBOX_HISTORY_BARS": str(market.sandbox_history_bars),
            "STRATEGIES_FILE": str(strategies_file),
            "SIGNAL_GENERATION_RATE_LIMIT": str(RATE_LIMIT_PER_MINUTE),
            "SIGNAL_GENERATION_BURST_ALLOWANCE": str(BURST),
            "SIGNAL_VALIDITY_SECONDS": str(VALIDITY_S),
            "WARMUP_MIN_AMOUNT": str(AMOUNT_QUOTE),
            "WARMUP_MAX_AMOUNT": str(AMOUNT_QUOTE),
            "EXIT_COOLDOWN_SECONDS": "1",
            "EXIT_REISSUE_SECONDS": "6",
            "EXIT_STRATEGY_RATE_LIMIT": "60",
            "MODEL_TRAINING_THREADS": "1",
            "MODEL_PROMOTION_MIN_TEST_ROWS": "500",
            "MODEL_KEEP_VERSIONS": "20",
        },
    )


def _strategies_toml() -> str:
    return "\n".join(
        "\n".join(
            [
                f"[{name}]",
                f"symbols = [{', '.join(map(literal, symbols))}]",
                *(f"{key} = {literal(value)}" for key, value in _EXITS[name].items()),
                "",
            ]
        )
        for name, symbols in STRATEGIES.items()
    )
