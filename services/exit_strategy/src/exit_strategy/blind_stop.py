"""The stops while the database does not answer: decided on what is known, published, and stored later.

Known is the newest state that was read of each position, else what the Position Manager shows; the stop that
counts is the stop loss, or the tightest one that the position ever had, if that is tighter. Peers derive
the same id from position and quarter minute. A further exit of a position needs the Position Manager, read
anew, still to show its size; where that does not answer either, one exit is all that a position gets.

TRAP: two workers on either side of a quarter minute have two ids. The second of them reads the Position
Manager first, which may not show the fill of the first yet.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from uuid import UUID

import msgspec
import structlog
from faststream.rabbit import RabbitBroker

from common import bus, topology, tracing
from common.core.exits.dispatch import Instrument, Issue, Limits, amount_quote, part_of
from common.core.exits.exit_signal import WITHOUT_DATABASE, exit_signal
from common.core.exits.position import (
    UNATTRIBUTED,
    Opening,
    Price,
    Tracked,
    Verdict,
    View,
    continues,
    opened,
    resized,
    with_seen,
)
from common.core.exits.rules import Rules
from common.core.exits.step import Exit, step
from common.core.ids import blind_exit_signal_id
from common.errors import FleetError, TryAgain, Unusable
from common.exits import VALIDITY_MARGIN
from common.messages import TradingSignal, encode_signal
from common.position_manager import Position, PositionManager
from exit_strategy.events import Event
from exit_strategy.metrics import EXITS_BLIND
from exit_strategy.spool import Confirmed, Spool, SpooledExit

log = structlog.get_logger(__name__)

MANAGER_PATIENCE_S = 2.0
"""Longest wait for the Position Manager while a stop is breached."""
PUBLISH_RETRY_S = 0.25
"""Pause between attempts to publish while the exit is valid."""

_NOBODY = UUID(int=0)


class Sent(msgspec.Struct, frozen=True, kw_only=True):
    """The newest exit of a position that this process knows of."""

    position: tuple[str, str]
    """Side and entry: another position has had none."""
    at: datetime


class BlindStop:
    """What one worker knows of open positions, and the stops that run on it alone."""

    def __init__(
        self,
        broker: RabbitBroker,
        manager: PositionManager,
        spool: Spool,
        *,
        rules_of: Callable[[str, str], Rules],
        limits: Limits,
        price_max_age: timedelta,
    ) -> None:
        self._broker = broker
        self._manager = manager
        self._spool = spool
        self._rules_of = rules_of
        self._limits = limits
        self._price_max_age = price_max_age
        self._known: dict[str, Tracked] = {}
        self._sent: dict[str, Sent] = {}
        self._refused: dict[str, str] = {}
        self._instruments: Mapping[str, Instrument] = {}
        self._is_halted = False
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    def remember(
        self, watched: Iterable[Tracked], instruments: Mapping[str, Instrument], *, is_halted: bool
    ) -> None:
        """These are the open positions, as the database showed them a moment ago."""
        known = {tracked.symbol: self.recalled(tracked) for tracked in watched}
        for symbol, tracked in known.items():
            before = self._known.get(symbol)
            if tracked.exit_signal_id not in (None, before and before.exit_signal_id):
                self.note_exit(tracked, _utcnow())  # a peer's, sent a moment ago at most
        self._known = known
        self._instruments = instruments
        self._is_halted = is_halted

    def known(self, symbol: str) -> Tracked | None:
        """The open position of `symbol` as it was seen last, stored or not."""
        return self._known.get(symbol)

    def recalled(self, tracked: Tracked) -> Tracked:
        """`tracked` with what was seen of it and is not stored."""
        return with_seen(tracked, self._known.get(tracked.symbol))

    def keep(self, tracked: Tracked) -> None:
        """The open position of its symbol is `tracked`."""
        self._known[tracked.symbol] = tracked

    def forget(self, tracked: Tracked) -> None:
        """`tracked` is closed."""
        known = self._known.get(tracked.symbol)
        if known is not None and known.lifecycle_id == tracked.lifecycle_id:
            del self._known[tracked.symbol]

    def note_exit(self, tracked: Tracked, at: datetime) -> None:
        """An exit of `tracked` is on its way since `at`, whoever sent it."""
        self._sent[tracked.symbol] = Sent(position=_position_of(tracked), at=at)

    def symbols(self, *, silent_since: datetime) -> list[str]:
        """Known positions that no price came for since then."""
        return [
            symbol
            for symbol, tracked in self._known.items()
            if (tracked.last_evaluated_at or tracked.opened_at) < silent_since
        ]

    def adopt(self, positions: Iterable[Position]) -> None:
        """The open positions are the Position Manager's; what was known of each stays known."""
        adopted = {}
        for position in positions:
            view = view_of(position)
            known = self._known.get(position.symbol)
            if known is not None and continues(known, view):
                adopted[position.symbol] = resized(known, view)
            elif view.entry_price is not None:
                opening = Opening(lifecycle_id=_NOBODY, strategy_id=UNATTRIBUTED, opened_at=view.seen_at)
                adopted[position.symbol] = opened(view, view.entry_price, opening)
        self._known = adopted

    def saw(self, view: View) -> None:
        """A known position changed its size, or is gone; a new one is known once its entry is."""
        known = self._known.get(view.symbol)
        if known is not None and continues(known, view):
            self._known[view.symbol] = resized(known, view)
        elif known is None or known.newest_event_at <= view.seen_at:
            self._known.pop(view.symbol, None)

    async def recall_spool(self) -> None:
        """Exits that an earlier process sent without the database count as sent."""
        for line in (await self._spool.read()).lines:
            if isinstance(line, SpooledExit):
                position = (line.side.value, f"{line.entry_price.normalize():f}")
                self._sent[line.symbol] = Sent(position=position, at=line.decided_at)

    def is_busy(self, symbol: str) -> bool:
        """Whether an exit of the position of `symbol` may be on its way at this moment."""
        return symbol in self._locks and self._locks[symbol].locked()

    async def on_price(self, symbol: str, price: Price) -> None:
        """A breached stop of the known position of `symbol` is on its way, or it is said why not."""
        if self._locks[symbol].locked():
            return  # its exit is being sent
        async with self._locks[symbol]:
            known = self._known.get(symbol)
            if known is None:
                return
            rules = _stops_of(self._rules_of(known.strategy_id, symbol))
            free = msgspec.structs.replace(known, latched_rule=None, latched_at=None)
            moved, verdicts, decision = step(free, price, rules, _utcnow(), self._price_max_age)
            self._known[symbol] = msgspec.structs.replace(
                moved, latched_rule=known.latched_rule, latched_at=known.latched_at
            )
            if not isinstance(decision, Exit):
                return
            refusal = await self._close(moved, verdicts)
            if refusal is not None and self._refused.get(symbol) != refusal:
                log.error(Event.EXIT_NOT_SENT_BLIND, symbol=symbol, reason=refusal)
            if refusal is None:
                self._refused.pop(symbol, None)
            else:
                self._refused[symbol] = refusal

    # None: it was sent, or an exit is under way already.
    async def _close(self, tracked: Tracked, verdicts: tuple[Verdict, ...]) -> str | None:
        if self._is_halted:
            return "exits were halted when the database was read last"
        sent = self._sent.get(tracked.symbol)
        is_further = sent is not None and sent.position == _position_of(tracked)
        if sent is not None and is_further and _utcnow() < sent.at + self._limits.reissue:
            return None
        try:
            async with asyncio.timeout(MANAGER_PATIENCE_S):
                position = await self._manager.position(tracked.symbol)
        except (FleetError, TimeoutError) as error:
            if is_further:
                return f"one exit was sent and the Position Manager does not answer: {error}"
        else:
            view = None if position is None else view_of(position)
            if view is None or not continues(tracked, view):
                self._known.pop(tracked.symbol, None)
                return "the Position Manager shows no such position any more"
            tracked = msgspec.structs.replace(tracked, size=view.size)
        return await self._send(tracked, verdicts)

    async def _send(self, tracked: Tracked, verdicts: tuple[Verdict, ...]) -> str | None:
        now, rule = _utcnow(), tracked.latched_rule or "stop_loss"
        instrument = self._instruments.get(tracked.symbol, Instrument())
        signal = _signal(tracked, verdicts, now, rule=rule, instrument=instrument, limits=self._limits)
        valid_until = now + self._limits.reissue - VALIDITY_MARGIN
        try:
            body = encode_signal(signal)
        except Unusable as error:
            return str(error)
        await self._spool.append(
            SpooledExit(
                signal_id=signal.signal_id,
                symbol=tracked.symbol,
                side=tracked.side,
                entry_price=tracked.entry_price,
                decided_at=now,
                valid_until=valid_until,
                trace_id=tracing.current(),
                rule=rule,
                body=body.decode(),
            )
        )
        self.note_exit(tracked, now)
        fault = await self._publish(signal, body, valid_until)
        if fault is not None:
            return fault
        await self._spool.append(Confirmed(signal_id=signal.signal_id))
        EXITS_BLIND.inc()
        log.warning(
            Event.EXIT_SENT_BLIND,
            signal_id=str(signal.signal_id),
            symbol=tracked.symbol,
            rule=rule,
            side=signal.signal_type,
            amount=signal.amount,
            entry_price=str(tracked.entry_price),
            price=signal.market_data_snapshot.price,
        )
        return None

    # What was wrong last, where the broker did not confirm it while it was valid.
    async def _publish(self, signal: TradingSignal, body: bytes, valid_until: datetime) -> str | None:
        fault = "it was not valid any more"
        while (remaining_s := (valid_until - _utcnow()).total_seconds()) > 0:
            try:
                await bus.publish(
                    self._broker,
                    topology.TRADING_SIGNALS,
                    body,
                    message_id=signal.signal_id,
                    trace_id=signal.trace_id or tracing.current(),
                    expires_in_s=remaining_s,
                )
            except TryAgain as error:
                fault = str(error)
                log.warning(Event.EXIT_NOT_SENT_BLIND, symbol=signal.symbol, reason=fault)
                await asyncio.sleep(PUBLISH_RETRY_S)
            else:
                return None
        return fault


def view_of(position: Position) -> View:
    """A position of the Position Manager as the core reads it."""
    return View(
        symbol=position.symbol,
        size=position.size,
        entry_price=position.average_entry_price or None,
        seen_at=position.last_updated,
    )


# With their version, or no position would be known to have had a tighter stop.
def _stops_of(rules: Rules) -> Rules:
    return Rules(stop_loss=rules.stop_loss, version=rules.version)


def _signal(
    tracked: Tracked,
    verdicts: tuple[Verdict, ...],
    now: datetime,
    *,
    rule: str,
    instrument: Instrument,
    limits: Limits,
) -> TradingSignal:
    price = tracked.last_price or tracked.entry_price
    live = abs(tracked.size)
    size = part_of(live, price, instrument, limits.max_order_notional)
    issue = Issue(
        rule=rule,
        stage=tracked.stage,
        generation=tracked.generation + 1,
        size=size,
        size_to_close=live,
        price=price,
        amount_quote=min(amount_quote(size, price), limits.max_order_notional),
    )
    signal = exit_signal(tracked, issue, verdicts, now, tracing.current())
    return msgspec.structs.replace(
        signal,
        signal_id=blind_exit_signal_id(tracked.symbol, tracked.side, tracked.entry_price, now),
        metadata={**(signal.metadata or {}), WITHOUT_DATABASE: True},
    )


def _position_of(tracked: Tracked) -> tuple[str, str]:
    return tracked.side.value, f"{tracked.entry_price.normalize():f}"


def _utcnow() -> datetime:
    return datetime.now(UTC)
