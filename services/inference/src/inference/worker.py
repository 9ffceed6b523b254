"""One vector's way through a worker: remember, screen, propose, gather, decide, emit."""

import asyncio
import random
from collections import defaultdict
from datetime import UTC, datetime
from uuid import UUID

import msgspec
import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from common import tracing
from common.core.ids import entry_signal_id
from common.messages import FeatureVector, MarketSnapshot
from common.signal_outbox import Claim, SignalOutbox
from inference import emission, situation
from inference.core.case import Case, Limits, Screening, TradingState
from inference.core.decide import Signal, decide, screen
from inference.core.reasons import Reason, Skip
from inference.core.stream import Stream, observe
from inference.core.warmup import Proposal, WarmUp, propose, slot_of
from inference.emission import Key
from inference.events import Event
from inference.outcomes import SIGNALS, VECTORS, SkipLedger

log = structlog.get_logger(__name__)


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """What the operator configured for this worker's decisions."""

    strategies: tuple[str, ...]
    symbols: frozenset[str]
    """Empty: every symbol."""
    state_initial: TradingState
    stale_warning_s: float
    limits: Limits
    warm_up: WarmUp


class Worker:
    """Turns vectors into signals or skips; one symbol at a time, different symbols side by side."""

    def __init__(self, policy: Policy, engine: AsyncEngine, outbox: SignalOutbox) -> None:
        self.skips = SkipLedger()
        self._policy = policy
        self._engine = engine
        self._outbox = outbox
        self._streams: dict[str, Stream] = {}
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._ageing: set[str] = set()
        self._slot_used: datetime | None = None

    async def on_vector(self, vector: FeatureVector, *, redelivered: bool) -> None:
        """Every strategy has decided on `vector`, and its signals are published or will be by the relay."""
        symbol = vector.symbol
        if self._policy.symbols and symbol not in self._policy.symbols:
            return
        VECTORS.inc()
        # Before the lock: of several waiting vectors only the newest is still worth a decision.
        self._streams[symbol] = observe(self._streams.get(symbol), vector.timestamp, vector.features)
        async with self._locks[symbol]:
            for strategy_id in self._policy.strategies:
                with tracing.bound(tracing.current(), strategy_id=strategy_id, symbol=symbol):
                    await self._decide_for(strategy_id, vector, redelivered=redelivered)

    async def _decide_for(self, strategy_id: str, vector: FeatureVector, *, redelivered: bool) -> None:
        signal_id = entry_signal_id(strategy_id, vector.symbol, vector.timestamp)
        if redelivered and await self._resumed(strategy_id, vector, signal_id):
            return
        outcome = await self._outcome(strategy_id, vector, signal_id)
        if isinstance(outcome, Skip):
            self.skips.note_skip(strategy_id, vector, outcome, _utcnow())
            return
        self.skips.note_signal(strategy_id, vector.symbol)
        fate = await self._outbox.publish(outcome)
        SIGNALS.labels(strategy_id, fate).inc()

    async def _resumed(self, strategy_id: str, vector: FeatureVector, signal_id: UUID) -> bool:
        unfinished = await self._outbox.resume(signal_id)
        if isinstance(unfinished, Claim):
            log.info(Event.INTENT_RESUMED, signal_id=str(signal_id))
            await self._outbox.publish(unfinished)
        elif unfinished is not None:
            skip = Skip(Reason.VECTOR_ALREADY_DECIDED, {"signal_id": str(signal_id), "fate": unfinished})
            self.skips.note_skip(strategy_id, vector, skip, _utcnow())
        return unfinished is not None

    async def _outcome(self, strategy_id: str, vector: FeatureVector, signal_id: UUID) -> Claim | Skip:
        now = _utcnow()
        self._warn_of_age(vector, now)
        stream = self._streams[vector.symbol]
        seen = screen(Screening(vector=vector, stream=stream, now=now, limits=self._policy.limits))
        if isinstance(seen, Skip):
            return seen
        slot = slot_of(now, self._policy.warm_up.signals_per_minute)
        proposal = self._proposal(vector, signal_id, slot)
        if isinstance(proposal, Skip):
            return proposal
        key = Key(strategy_id=strategy_id, symbol=vector.symbol, signal_id=signal_id, warmup_slot=slot)
        try:
            return await self._admitted(key, vector, seen, proposal)
        except (SQLAlchemyError, OSError, TimeoutError) as error:
            return Skip(Reason.DATABASE_UNAVAILABLE, {"error": str(error).splitlines()[0]})

    def _proposal(self, vector: FeatureVector, signal_id: UUID, slot: datetime) -> Proposal | Skip:
        if not self._policy.warm_up.enabled:
            return Skip(Reason.WARMUP_DISABLED, {})
        if slot == self._slot_used:
            return Skip(Reason.WARMUP_SLOT_TAKEN, {"slot": slot.isoformat()})
        return propose(vector.features, self._policy.warm_up, random.Random(signal_id.int))

    async def _admitted(
        self, key: Key, vector: FeatureVector, snapshot: MarketSnapshot, proposal: Proposal
    ) -> Claim | Skip:
        limits = self._policy.limits
        async with self._engine.connect() as connection:
            known = await situation.gather(
                connection, key.strategy_id, key.symbol, self._policy.state_initial
            )
            balance_at = known.balance.received_at if known.balance else None
            ledger = await emission.read_ledger(connection, key, limits, _utcnow(), balance_at)
        case = Case(
            strategy_id=key.strategy_id,
            signal_id=key.signal_id,
            vector=vector,
            snapshot=snapshot,
            proposal=proposal,
            situation=known,
            ledger=ledger,
            limits=limits,
            now=_utcnow(),
            trace_id=tracing.current(),
        )
        if isinstance(first := decide(case), Skip):
            return self._remembered(first, key)
        # Decided again under the fleet's lock: the ledger cannot change before this signal stands in it.
        async with emission.emitting(self._engine, limits, _utcnow()) as connection:
            now = _utcnow()
            ledger = await emission.read_ledger(connection, key, limits, now, balance_at)
            case = msgspec.structs.replace(case, ledger=ledger, now=now)
            if isinstance(decision := decide(case), Skip):
                return self._remembered(decision, key)
            claim = await self._outbox.claim(
                connection,
                decision.message,
                kind="entry",
                feature_timestamp=vector.timestamp,
                valid_until=decision.valid_until,
            )
            if claim is None:
                return Skip(Reason.VECTOR_ALREADY_DECIDED, {"signal_id": str(key.signal_id)})
            await emission.enter(connection, case, key.warmup_slot)
        self._slot_used = key.warmup_slot
        _log_emitted(decision)
        return claim

    def _remembered(self, skip: Skip, key: Key) -> Skip:
        # Spares the reads for every further vector of this time slot.
        if skip.reason is Reason.WARMUP_SLOT_TAKEN:
            self._slot_used = key.warmup_slot
        return skip

    def _warn_of_age(self, vector: FeatureVector, now: datetime) -> None:
        age_s = (now - vector.timestamp).total_seconds()
        if age_s <= self._policy.stale_warning_s:
            self._ageing.discard(vector.symbol)
        elif vector.symbol not in self._ageing:
            self._ageing.add(vector.symbol)
            log.warning(Event.MARKET_DATA_AGEING, age_s=round(age_s, 3), limit_s=self._policy.stale_warning_s)


def _log_emitted(signal: Signal) -> None:
    message = signal.message
    log.info(
        Event.SIGNAL_EMITTED,
        signal_id=str(message.signal_id),
        side=message.signal_type,
        amount=message.amount,
        price=message.market_data_snapshot.price,
        is_warmup=message.is_warmup,
        valid_until=signal.valid_until.isoformat(),
    )


def _utcnow() -> datetime:
    return datetime.now(UTC)
