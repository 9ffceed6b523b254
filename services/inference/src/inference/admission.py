"""Admission: may a proposal become a signal? Gather, decide, and under the fleet's lock decide again.

The second decision sees the trading state and the fleet's ledger as nobody can change them before the
signal stands in them; what the neighbours know is read once.
"""

import time
from datetime import UTC, datetime

import msgspec
import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from common import tracing
from common.core.trading_state import TradingState, last_known
from common.database import DATABASE_ERRORS
from common.errors import first_line
from common.messages import FeatureVector, MarketSnapshot
from common.signal_outbox import Claim, SignalOutbox
from inference import emission, situation
from inference.core.case import Balance, Case, Situation
from inference.core.decide import Signal, decide
from inference.core.reasons import Reason, Skip
from inference.core.warmup import Proposal
from inference.emission import Key, Received
from inference.events import Event
from inference.holdings import Holdings
from inference.policy import Policy

log = structlog.get_logger(__name__)

_MAY_PASS_WITH_A_POSITION = (Reason.POSITION_UNKNOWN, Reason.TRADING_REDUCING)


class Admission:
    """The way from a proposal to a claimed intent."""

    def __init__(self, engine: AsyncEngine, outbox: SignalOutbox, holdings: Holdings) -> None:
        self._engine = engine
        self._outbox = outbox
        self._holdings = holdings
        self._read_states: dict[str, tuple[TradingState, float]] = {}

    async def admitted(
        self, key: Key, vector: FeatureVector, snapshot: MarketSnapshot, proposal: Proposal, policy: Policy
    ) -> Claim | Skip:
        """The claimed intent of the signal, or why there is none. A deaf database is a skip."""
        try:
            case = await self._read(key, vector, snapshot, proposal, policy)
            if isinstance(first := decide(case), Skip) and first.reason not in _MAY_PASS_WITH_A_POSITION:
                return first
            case = await self._with_position(case)
            if isinstance(second := decide(case), Skip):
                return second
            return await self._claimed(key, case, policy)
        except DATABASE_ERRORS as error:
            return self._deaf(key, error)

    # What the database knows: whatever denies without a position spares the question after it.
    async def _read(
        self, key: Key, vector: FeatureVector, snapshot: MarketSnapshot, proposal: Proposal, policy: Policy
    ) -> Case:
        async with self._engine.connect() as connection:
            known = await situation.gather(
                connection,
                key.strategy_id,
                key.symbol,
                sharing=policy.sharing,
                with_margin=policy.limits.short_entries and proposal.side == "sell",
                initial=policy.state_initial,
            )
            ledger, _ = await emission.read_ledger(
                connection, key, policy.limits, _utcnow(), _received(known)
            )
        self._read_states[key.strategy_id] = (known.state, time.monotonic())
        return Case(
            strategy_id=key.strategy_id,
            signal_id=key.signal_id,
            vector=vector,
            snapshot=snapshot,
            proposal=proposal,
            situation=known,
            ledger=ledger,
            limits=policy.limits,
            now=_utcnow(),
            trace_id=tracing.current(),
        )

    async def _with_position(self, case: Case) -> Case:
        known = await self._holdings.completed(
            case.situation, case.vector.symbol, case.proposal.side, case.limits
        )
        return msgspec.structs.replace(case, situation=known, now=_utcnow())

    async def _claimed(self, key: Key, case: Case, policy: Policy) -> Claim | Skip:
        async with emission.emitting(self._engine, case.limits, _utcnow()) as connection:
            now = _utcnow()
            ledger, states = await emission.read_ledger(
                connection, key, case.limits, now, _received(case.situation)
            )
            state = situation.state_from(states, key.strategy_id, policy.state_initial)
            known = msgspec.structs.replace(case.situation, state=state)
            case = msgspec.structs.replace(case, situation=known, ledger=ledger, now=now)
            if isinstance(decision := decide(case), Skip):
                return decision
            claim = await self._outbox.claim(
                connection,
                decision.message,
                kind="entry",
                feature_timestamp=case.vector.timestamp,
                valid_until=decision.valid_until,
            )
            if claim is None:
                return Skip(Reason.VECTOR_ALREADY_DECIDED, {"signal_id": str(key.signal_id)})
            await emission.enter(connection, case, key.warmup_slot)
        _log_emitted(decision)
        return claim

    def _deaf(self, key: Key, error: Exception) -> Skip:
        state, read_at = self._read_states.get(key.strategy_id, (None, 0.0))
        held = last_known(state, time.monotonic() - read_at)
        return Skip(Reason.DATABASE_UNAVAILABLE, {"error": first_line(error), "trading_state": held})


def _received(known: Situation) -> Received:
    return Received(balance_at=_at(known.balance), margin_at=_at(known.margin))


def _at(balance: Balance | None) -> datetime | None:
    return balance.received_at if balance else None


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
