"""Take profit before anything else: a position above its target is closed, not added to.

The exit worker's own rule and its own claim (`common.exits`): the lifecycle's row is read only where the
remembered position is above a target, locked while it is decided, and latched together with the intent; so
whoever comes first closes, and nobody twice. Without a row that shows the position as it is now, the entry is
only skipped.
"""

import functools
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Protocol
from uuid import UUID

import msgspec
import structlog
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from common import exits
from common.core.exits.dispatch import Wait
from common.core.exits.position import Price, Side, Tracked
from common.core.exits.rule_sets import strictest
from common.core.exits.rules import Rules, TakeProfit
from common.core.exits.step import Exit, step
from common.database import DATABASE_ERRORS
from common.errors import first_line
from common.exit_settings import ruling
from common.exits import Issued
from common.messages import FeatureVector, MarketSnapshot, TradingSignal
from common.position_manager import Position
from common.signal_outbox import Claim, Fate, SignalOutbox
from inference.core.reasons import Facts, Reason, Skip
from inference.events import Event
from inference.settings import Settings

log = structlog.get_logger(__name__)

PRICE_SOURCE = "feature_vector"


class KnownPositions(Protocol):
    """What is remembered of positions, without asking anybody."""

    def peek(self, symbol: str) -> Position | None:
        """The position as it is remembered; None: flat, or not known."""


class TakeProfits:
    """Looks at every vector of a symbol that is held."""

    def __init__(
        self, settings: Settings, engine: AsyncEngine, outbox: SignalOutbox, positions: KnownPositions
    ) -> None:
        self._settings = settings
        self._engine = engine
        self._outbox = outbox
        self._positions = positions
        self._max_age = timedelta(seconds=settings.market_data_max_age_seconds)
        self._rule_of = functools.cache(self._configured)

    async def take(self, vector: FeatureVector, snapshot: MarketSnapshot) -> Skip | None:
        """Why nobody may enter now: a profit was taken and its exit sent, or is due; None: there is none."""
        due = await self.consider(vector, snapshot)
        if not isinstance(due, Claim):
            return due
        fate = await self._outbox.publish(due)
        if fate is Fate.PUBLISHED:
            await self._begin_cooldown(due)
        return Skip(Reason.TAKE_PROFIT_TRIGGERED, {"signal_id": str(due.signal_id), "fate": fate})

    async def consider(self, vector: FeatureVector, snapshot: MarketSnapshot) -> Claim | Skip | None:
        """The exit to publish; why nobody may enter now; None: no profit is due.

        A vector that came again finds its exit latched, which is a skip. Reads nothing while the remembered
        position is below every target.
        """
        position = self._positions.peek(vector.symbol)
        price = Decimal(repr(snapshot.price))
        if position is None or not self._may_be_due(position, price):
            return None
        facts: dict[str, object] = {
            "size": str(position.size),
            "entry_price": str(position.average_entry_price),
            "price": str(price),
        }
        seen = Price(value=price, seen_at=vector.timestamp, source=PRICE_SOURCE)
        try:
            async with self._engine.begin() as connection:
                return await self._decided(connection, position, seen, facts)
        except DATABASE_ERRORS as error:
            return Skip(Reason.TAKE_PROFIT_DUE, {**facts, "problem": first_line(error)})

    async def _decided(
        self, connection: AsyncConnection, position: Position, price: Price, facts: Facts
    ) -> Claim | Skip | None:
        tracked = await exits.locked(connection, position.symbol)
        if tracked is None or not _shows(tracked, position):
            return _due(facts, "no lifecycle shows the position as it is now")
        rule = self._rule_of(tracked.strategy_id, tracked.symbol)
        if rule is None:
            return None
        if tracked.latched_rule is not None:
            return _due(facts, f"{tracked.latched_rule} is latched already")
        rules, now = Rules(take_profit=rule), datetime.now(UTC)
        after, verdicts, decision = step(tracked, price, rules, now, self._max_age)
        if not isinstance(decision, Exit):
            return None
        await exits.save(connection, after)
        outcome = await exits.issue(
            connection,
            self._outbox,
            after,
            rules=rules,
            limits=self._settings.closing_limits(),
            verdicts=verdicts,
            now=now,
        )
        if isinstance(outcome, Issued) and outcome.claim is not None:
            log.info(
                Event.TAKE_PROFIT_TRIGGERED,
                signal_id=str(outcome.signal.signal_id),
                lifecycle_id=str(after.lifecycle_id),
                owner=after.strategy_id,
                amount=outcome.signal.amount,
                stage=after.stage,
                **facts,
            )
            return outcome.claim
        # Latched: the exit worker's sweep sends it once nothing is in its way.
        return _due(facts, outcome.reason if isinstance(outcome, Wait) else "somebody else closes it")

    async def _begin_cooldown(self, claim: Claim) -> None:
        signal = msgspec.json.decode(claim.body, type=TradingSignal)
        try:
            async with self._engine.begin() as connection:
                await exits.confirmed(connection, UUID((signal.metadata or {})["lifecycle_id"]))
        except DATABASE_ERRORS as error:
            # The rate limit counts the exit by its intent all the same.
            log.warning(Event.COOLDOWN_NOT_BEGUN, signal_id=str(claim.signal_id), reason=str(error))

    def _may_be_due(self, position: Position, price: Decimal) -> bool:
        strategies = self._settings.strategies()
        rules = [self._rule_of(strategy_id, position.symbol) for strategy_id in strategies]
        return any(rule is not None and _is_above(position, price, rule) for rule in rules)

    def _configured(self, strategy_id: str, symbol: str) -> TakeProfit | None:
        rules = [
            Rules(take_profit=self._settings.of_strategy(each, symbol).take_profit())
            for each in ruling(self._settings, strategy_id, symbol)
        ]
        return strictest(rules).take_profit


def _is_above(position: Position, price: Decimal, rule: TakeProfit) -> bool:
    entry, side = position.average_entry_price, Side.of(position.size)
    if not entry:
        return False
    levels = [side.moved(entry, rule.ladder[0].profit_pct)]
    if rule.profit_quote is not None:
        levels.append(side.shifted(entry, rule.profit_quote / abs(position.size)))
    return any(side.is_better(price, level) for level in levels)


# The row follows the Position Manager: behind it, or of another size, it is not what would be closed.
def _shows(tracked: Tracked, position: Position) -> bool:
    return tracked.size == position.size and tracked.newest_event_at >= position.last_updated


def _due(facts: Facts, problem: str) -> Skip:
    return Skip(Reason.TAKE_PROFIT_DUE, msgspec.to_builtins({**facts, "problem": problem}))
