"""One vector's way through a worker: remember, screen, take profit, propose, admit, publish."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Protocol

import msgspec
import structlog

from common import tracing
from common.core.ids import entry_signal_id
from common.database import DATABASE_ERRORS
from common.errors import first_line
from common.messages import FeatureVector, MarketSnapshot
from common.signal_outbox import Claim, Fate, SignalOutbox
from inference.admission import Admission
from inference.core.case import Screening
from inference.core.reasons import Reason, Skip
from inference.core.screening import screen
from inference.core.snapshot import KnownPrice
from inference.core.stream import Stream, observe
from inference.emission import Key
from inference.events import Event
from inference.outcomes import SIGNALS, VECTORS, Outcomes
from inference.policy import Policies, Policy
from inference.proposals import Proposals, Proposed

log = structlog.get_logger(__name__)

SCREENED_FOR = timedelta(milliseconds=10)
"""What screening found holds for so long, unless a newer vector came."""


class TakeProfit(Protocol):
    """Who looks at a vector before the strategies do."""

    async def take(self, vector: FeatureVector, snapshot: MarketSnapshot) -> Skip | None:
        """Why nobody may enter now: a profit was taken, or is due; None: there is none."""


class Published(msgspec.Struct, frozen=True, kw_only=True):
    """A signal that the broker confirmed."""

    strategy_id: str
    claim: Claim
    proposed: Proposed
    arrived_at: datetime
    """When its vector came."""
    published_at: datetime


class Listeners(msgspec.Struct, frozen=True, kw_only=True):
    """Who else hears what a worker sees and does; none of them waits for anything."""

    priced: tuple[Callable[[FeatureVector, MarketSnapshot], None], ...] = ()
    """Every vector that shows a market to act on, at once: while the symbol's last decision is still made."""
    screened: tuple[Callable[[FeatureVector, MarketSnapshot], None], ...] = ()
    """The same, when it is its turn to be decided on."""
    skipped: tuple[Callable[[Skip], None], ...] = ()
    published: tuple[Callable[[Published], None], ...] = ()


class Worker:
    """Turns vectors into signals or skips; one symbol at a time, different symbols side by side."""

    def __init__(
        self,
        policies: Policies,
        proposals: Proposals,
        admission: Admission,
        outbox: SignalOutbox,
        outcomes: Outcomes,
        *,
        take_profit: TakeProfit,
        traded: Callable[[], frozenset[str] | None],
        is_held: Callable[[str], bool],
        known_price: Callable[[str], KnownPrice | None],
        listeners: Listeners,
    ) -> None:
        self._policies = policies
        self._proposals = proposals
        self._admission = admission
        self._outbox = outbox
        self._outcomes = outcomes
        self._take_profit = take_profit
        self._traded = traded
        self._is_held = is_held
        self._known_price = known_price
        self._listeners = listeners
        self._streams: dict[str, Stream] = {}
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._ageing: set[str] = set()
        self._failing: dict[tuple[str, str], str] = {}

    async def on_vector(self, vector: FeatureVector, *, redelivered: bool) -> None:
        """Every strategy has decided on `vector`, and its signals are published or will be by the relay.

        Of a symbol that nobody trades and that is still held, only the price counts: exits live on it.
        """
        symbol, arrived_at = vector.symbol, _utcnow()
        strategies = self._policies.strategies_of(symbol)
        if not self._is_traded(symbol):
            self._note_not_selected(strategies, vector)
            strategies = ()
        if not strategies and not self._is_held(symbol):
            return
        VECTORS.inc()
        # Before the lock: of several waiting vectors only the newest is still worth a decision.
        self._observe(vector, arrived_at)
        if not isinstance(snapshot := self._screened(vector), Skip):
            for hear in self._listeners.priced:
                hear(vector, snapshot)
        stream = self._streams[symbol]
        async with self._locks[symbol]:
            stands = self._streams[symbol] is stream and _utcnow() - arrived_at < SCREENED_FOR
            seen = await self._seen(vector, snapshot if stands else self._screened(vector))
            for strategy_id in strategies:
                with tracing.bound(tracing.current(), strategy_id=strategy_id, symbol=symbol):
                    try:
                        await self._decide_for(strategy_id, vector, seen, arrived_at, redelivered=redelivered)
                    except Exception as error:  # noqa: BLE001 - one strategy's failure is not the others'
                        self._note_failure(strategy_id, vector, error)

    def leave_out(self, vector: FeatureVector) -> None:
        """A newer vector came before the turn of this one: for every strategy it counts as superseded.

        The stream remembers it all the same: that the market moved may show in this one alone.
        """
        symbol, now = vector.symbol, _utcnow()
        if strategies := self._policies.strategies_of(symbol) if self._is_traded(symbol) else ():
            VECTORS.inc()
            self._observe(vector, now)
            self._outcomes.note_left_out(strategies, symbol, now)

    def _observe(self, vector: FeatureVector, now: datetime) -> None:
        self._streams[vector.symbol] = observe(
            self._streams.get(vector.symbol),
            vector.timestamp,
            vector.features,
            believed_until=now + timedelta(seconds=self._policies.limits.future_tolerance_s),
        )

    def _is_traded(self, symbol: str) -> bool:
        traded = self._traded()
        return traded is None or symbol in traded

    async def _seen(self, vector: FeatureVector, snapshot: MarketSnapshot | Skip) -> MarketSnapshot | Skip:
        if isinstance(snapshot, Skip):
            return snapshot
        for hear in self._listeners.screened:
            hear(vector, snapshot)
        return await self._take_profit.take(vector, snapshot) or snapshot

    async def _decide_for(
        self,
        strategy_id: str,
        vector: FeatureVector,
        seen: MarketSnapshot | Skip,
        arrived_at: datetime,
        *,
        redelivered: bool,
    ) -> None:
        if redelivered and await self._resumed(strategy_id, vector):
            return
        if isinstance(seen, Skip):
            self._note_skip(strategy_id, vector, seen)
            return
        policy = self._policies.of(strategy_id, vector.symbol)
        proposed = self._proposals.of(strategy_id, vector, seen, now=_utcnow(), policy=policy)
        if isinstance(proposed, Skip):
            self._note_skip(strategy_id, vector, proposed)
            return
        key = Key(
            strategy_id=strategy_id,
            symbol=vector.symbol,
            signal_id=entry_signal_id(strategy_id, vector.symbol, vector.timestamp),
            warmup_slot=proposed.slot,
        )
        claim = await self._admitted(key, vector, seen, proposed, policy)
        if isinstance(claim, Skip):
            self._note_skip(strategy_id, vector, claim, proposed.proposal.version)
            return
        await self._published(strategy_id, vector, claim, proposed, arrived_at)

    async def _published(
        self,
        strategy_id: str,
        vector: FeatureVector,
        claim: Claim,
        proposed: Proposed,
        arrived_at: datetime,
    ) -> None:
        self._outcomes.note_signal(strategy_id, vector, claim, _utcnow())
        fate = await self._outbox.publish(claim)
        SIGNALS.labels(strategy_id, fate).inc()
        if fate is Fate.PUBLISHED:
            published = Published(
                strategy_id=strategy_id,
                claim=claim,
                proposed=proposed,
                arrived_at=arrived_at,
                published_at=_utcnow(),
            )
            for hear in self._listeners.published:
                hear(published)

    async def _resumed(self, strategy_id: str, vector: FeatureVector) -> bool:
        signal_id = entry_signal_id(strategy_id, vector.symbol, vector.timestamp)
        try:
            unfinished = await self._outbox.resume(signal_id)
        except DATABASE_ERRORS as error:
            # Whatever was begun with it the relay finishes; nobody can begin now.
            problem = first_line(error)
            self._note_skip(strategy_id, vector, Skip(Reason.DATABASE_UNAVAILABLE, {"error": problem}))
            return True
        if isinstance(unfinished, Claim):
            log.info(Event.INTENT_RESUMED, signal_id=str(signal_id))
            await self._outbox.publish(unfinished)
        elif unfinished is not None:
            skip = Skip(Reason.VECTOR_ALREADY_DECIDED, {"signal_id": str(signal_id), "fate": unfinished})
            self._note_skip(strategy_id, vector, skip)
        return unfinished is not None

    def _screened(self, vector: FeatureVector) -> MarketSnapshot | Skip:
        now = _utcnow()
        self._warn_of_age(vector, now)
        return screen(
            Screening(
                vector=vector,
                stream=self._streams[vector.symbol],
                now=now,
                limits=self._policies.limits,
                snapshot_features=self._policies.snapshot_features,
                known_price=self._known_price(vector.symbol),
            )
        )

    async def _admitted(
        self, key: Key, vector: FeatureVector, snapshot: MarketSnapshot, proposed: Proposed, policy: Policy
    ) -> Claim | Skip:
        outcome = await self._admission.admitted(key, vector, snapshot, proposed.proposal, policy)
        is_used = isinstance(outcome, Claim) or outcome.reason is Reason.WARMUP_SLOT_TAKEN
        if key.warmup_slot is not None and is_used:
            self._proposals.note_used(key.warmup_slot)
        return outcome

    def _note_skip(
        self, strategy_id: str, vector: FeatureVector, skip: Skip, version: str | None = None
    ) -> None:
        self._outcomes.note_skip(strategy_id, vector, skip, _utcnow(), version)
        for hear in self._listeners.skipped:
            hear(skip)

    def _note_not_selected(self, strategies: Iterable[str], vector: FeatureVector) -> None:
        for strategy_id in strategies:
            with tracing.bound(tracing.current(), strategy_id=strategy_id, symbol=vector.symbol):
                self._note_skip(strategy_id, vector, Skip(Reason.NOT_SELECTED, {}))

    def _note_failure(self, strategy_id: str, vector: FeatureVector, error: Exception) -> None:
        said = f"{type(error).__name__}: {error}"
        if self._failing.get((strategy_id, vector.symbol)) != said:
            self._failing[strategy_id, vector.symbol] = said
            log.error(Event.DECISION_FAILED, reason=said, exc_info=error)
        self._note_skip(strategy_id, vector, Skip(Reason.DECISION_FAILED, {"error": said[:500]}))

    def _warn_of_age(self, vector: FeatureVector, now: datetime) -> None:
        age_s, limit_s = (now - vector.timestamp).total_seconds(), self._policies.stale_warning_s
        if age_s <= limit_s:
            self._ageing.discard(vector.symbol)
        elif vector.symbol not in self._ageing:
            self._ageing.add(vector.symbol)
            log.warning(Event.MARKET_DATA_AGEING, age_s=round(age_s, 3), limit_s=limit_s)


def _utcnow() -> datetime:
    return datetime.now(UTC)
