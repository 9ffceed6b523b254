"""Exit rules over HTTP: what would close a position of a strategy, by the exit workers' own reading."""

from typing import Annotated

import msgspec
from litestar import get
from litestar.di import NamedDependency
from litestar.params import QueryParameter
from sqlalchemy.ext.asyncio import AsyncEngine

from api.core.exit_rules import RuleInForce, in_force
from api.core.pages import Window
from api.parameters import SYMBOL, StrategyPath
from api.problems import documented
from api.queries import positions
from api.queries.positions import Lifecycle
from api.settings import Settings
from common.core.exits.position import UNATTRIBUTED
from common.core.exits.rule_sets import warnings
from common.errors import NotFound

MOST_POSITIONS = 1000

OneSymbol = Annotated[
    str | None, QueryParameter(pattern=SYMBOL, description="The rules of its positions of this symbol.")
]


class JudgedPosition(msgspec.Struct, frozen=True, kw_only=True):
    """Which rules an open position was last held against."""

    symbol: str
    rules_version: str | None
    """Null: it was not evaluated yet, or exits by rule are disabled."""
    is_current: bool
    """Whether those are the rules that hold for it by the API's settings."""


class ExitRules(msgspec.Struct, frozen=True, kw_only=True):
    """The rules in force, from the environment and strategies.toml."""

    strategy_id: str
    symbol: str | None
    """Null: of symbols that have no table of their own."""
    enabled: bool
    """False: EXIT_STRATEGY_ENABLED is off, and only an operator's close is sent."""
    rules_version: str | None
    """Names this set of rules; null: none is on."""
    rules: list[RuleInForce]
    """In order of evaluation."""
    warnings: list[str]
    """What of it will never fire, or fires at once."""
    positions: list[JudgedPosition]
    """Open positions of the strategy; one that is not current: the exit workers have other settings, or have
    not evaluated it since they changed."""


@get(
    "/strategies/{strategy_id:str}/exit-rules",
    operation_id="GetExitRules",
    summary="Exit rules in force",
    responses=documented(404),
)
async def get_exit_rules(
    engine: NamedDependency[AsyncEngine],
    settings: NamedDependency[Settings],
    strategy_id: StrategyPath,
    symbol: OneSymbol = None,
) -> ExitRules:
    """What closes the strategy's positions, read by the code that the exit workers read it by.

    The strategy `unattributed` has the positions that no strategy opened, and the strictest rules of all.
    """
    if strategy_id not in (*settings.strategies(), UNATTRIBUTED):
        raise NotFound("no such strategy: TRADING_STRATEGIES names those that there are")
    rules = settings.rules_of(strategy_id, symbol)
    async with engine.connect() as connection:
        opened = await positions.lifecycles(
            connection, Window(limit=MOST_POSITIONS), strategy_id=strategy_id, symbol=symbol
        )
    return ExitRules(
        strategy_id=strategy_id,
        symbol=symbol,
        enabled=settings.exit_strategy_enabled,
        rules_version=rules.version,
        rules=in_force(rules),
        warnings=list(warnings(rules)),
        positions=[_judged(each, settings) for each in opened],
    )


def _judged(position: Lifecycle, settings: Settings) -> JudgedPosition:
    rules = settings.rules_of(position.strategy_id, position.symbol)
    return JudgedPosition(
        symbol=position.symbol,
        rules_version=position.rules_version,
        is_current=position.rules_version == rules.version,
    )
