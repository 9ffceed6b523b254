"""One vector's way through a worker: remember, screen, propose, gather, decide, emit."""

import asyncio
import random
from collections import defaultdict
from datetime import UTC, datetime
from decimal import Decimal
from typing import Protocol
from uuid import UUID

import msgspec
import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from common import tracing
from common.core.ids import entry_signal_id
from common.core.trading_state import TradingState, trading_state
from common.errors import FleetError
from common.messages import FeatureVector, MarketSnapshot
from common.position_manager import Position
from common.signal_outbox import Claim, SignalOutbox
from common.trading_states import stored_states
from inference import emission, situation
from inference.core import model, warmup
from inference.core.alignment import align
from inference.core.case import Case, Limits, Screening
from inference.core.decide import Signal, decide
from inference.core.model import ModelPolicy
from inference.core.reasons import Reason, Skip
from inference.core.screening import screen
from inference.core.stream import Stream, observe
from inference.core.warmup import Proposal, WarmUp, slot_of
from inference.emission import Key
from inference.events import Event
from inference.models import LoadedModel, Serving
from inference.outcomes import SIGNALS, VECTORS, SkipLedger
from inference.price_feed import PriceFeed

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
    model: ModelPolicy


class Models(Protocol):
    """Where the worker finds what serves a strategy."""

    def of(self, strategy_id: str) -> Serving | None:
        """What serves the strategy now; None while that is unknown."""


class Positions(Protocol):
    """Where the worker finds what is held."""

    async def position(self, symbol: str) -> Position | None:
        """The open position; None: flat. Raises FleetError where that is unknown."""

    def invalidate(self, symbol: str) -> None:
        """What was remembered of `symbol` is forgotten."""


class Worker:
    """Turns vectors into signals or skips; one symbol at a time, different symbols side by side."""

    def __init__(
        self,
        policy: Policy,
        engine: AsyncEngine,
        outbox: SignalOutbox,
        *,
        models: Models,
        positions: Positions,
        prices: PriceFeed,
    ) -> None:
        self.skips = SkipLedger()
        self._policy = policy
        self._engine = engine
        self._outbox = outbox
        self._models = models
        self._positions = positions
        self._prices = prices
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
            seen = self._screened(vector)
            if isinstance(seen, MarketSnapshot):
                self._prices.note(vector, seen)
            for strategy_id in self._policy.strategies:
                with tracing.bound(tracing.current(), strategy_id=strategy_id, symbol=symbol):
                    await self._decide_for(strategy_id, vector, seen, redelivered=redelivered)

    async def _decide_for(
        self, strategy_id: str, vector: FeatureVector, seen: MarketSnapshot | Skip, *, redelivered: bool
    ) -> None:
        signal_id = entry_signal_id(strategy_id, vector.symbol, vector.timestamp)
        if redelivered and await self._resumed(strategy_id, vector, signal_id):
            return
        outcome = (
            seen if isinstance(seen, Skip) else await self._outcome(strategy_id, vector, signal_id, seen)
        )
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

    def _screened(self, vector: FeatureVector) -> MarketSnapshot | Skip:
        now = _utcnow()
        self._warn_of_age(vector, now)
        stream = self._streams[vector.symbol]
        return screen(Screening(vector=vector, stream=stream, now=now, limits=self._policy.limits))

    async def _outcome(
        self, strategy_id: str, vector: FeatureVector, signal_id: UUID, snapshot: MarketSnapshot
    ) -> Claim | Skip:
        slot = slot_of(_utcnow(), self._policy.warm_up.signals_per_minute)
        proposal = self._proposal(strategy_id, vector, signal_id, slot)
        if isinstance(proposal, Skip):
            return proposal
        key = Key(
            strategy_id=strategy_id,
            symbol=vector.symbol,
            signal_id=signal_id,
            warmup_slot=slot if proposal.version is None else None,
        )
        try:
            return await self._admitted(key, vector, snapshot, proposal)
        except (SQLAlchemyError, OSError, TimeoutError) as error:
            return Skip(Reason.DATABASE_UNAVAILABLE, {"error": str(error).splitlines()[0]})

    def _proposal(
        self, strategy_id: str, vector: FeatureVector, signal_id: UUID, slot: datetime
    ) -> Proposal | Skip:
        serving = self._models.of(strategy_id)
        if serving is None:
            return Skip(Reason.MODEL_UNAVAILABLE, {"problem": "the registry has not been read yet"})
        if serving.loaded is not None:
            return self._model_proposal(serving.loaded, vector)
        if not serving.warms_up:
            return Skip(Reason.MODEL_UNAVAILABLE, {"problem": serving.problem})
        return self._warmup_proposal(vector, signal_id, slot)

    def _model_proposal(self, loaded: LoadedModel, vector: FeatureVector) -> Proposal | Skip:
        # `loaded` is one reference for the whole decision: a swap in between cannot mix versions.
        row = align(vector, loaded.model)
        if isinstance(row, Skip):
            return row
        return model.propose(loaded.predict(row), loaded.model, self._policy.model)

    def _warmup_proposal(self, vector: FeatureVector, signal_id: UUID, slot: datetime) -> Proposal | Skip:
        if not self._policy.warm_up.enabled:
            return Skip(Reason.WARMUP_DISABLED, {})
        if slot == self._slot_used:
            return Skip(Reason.WARMUP_SLOT_TAKEN, {"slot": slot.isoformat()})
        return warmup.propose(vector.features, self._policy.warm_up, random.Random(signal_id.int))

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
        known = msgspec.structs.replace(known, live_size=await self._live_size(key.symbol, proposal))
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
            state = trading_state(
                await stored_states(connection), key.strategy_id, self._policy.state_initial
            )
            known = msgspec.structs.replace(known, state=state)
            case = msgspec.structs.replace(case, situation=known, ledger=ledger, now=now)
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
        self._slot_used = key.warmup_slot or self._slot_used
        _log_emitted(decision)
        return claim

    async def _live_size(self, symbol: str, proposal: Proposal) -> Decimal | None:
        if proposal.side == "sell":
            # A remembered long may be sold already: selling it again would open a short.
            self._positions.invalidate(symbol)
        try:
            position = await self._positions.position(symbol)
        except FleetError as error:
            log.debug(Event.POSITION_NOT_READ, reason=str(error))
            return None
        return position.size if position else Decimal(0)

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
        version=message.model_version,
        is_warmup=message.is_warmup,
        valid_until=signal.valid_until.isoformat(),
    )


def _utcnow() -> datetime:
    return datetime.now(UTC)
