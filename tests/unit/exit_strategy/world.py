"""Two workers, one row, a broker, an Order Manager and a Position Manager, in memory and on one clock.

What a worker does around the core is done here in the plainest way, and every step is checked against what
the world itself knows: which prices were heard, what was breached, how much is really held. The subclasses at
the end are planted bugs: a model that does not find them is worth nothing.
"""

from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from uuid import UUID, uuid5

import msgspec
from tests.unit.exit_strategy.book import MAX_AGE, START, rules, sl, tp, trail

from common.core.exits.dispatch import (
    Answer,
    Done,
    Flight,
    Instrument,
    Issue,
    Limits,
    Traffic,
    dispatch,
    was_reopened,
)
from common.core.exits.holds import Hold
from common.core.exits.position import Opening, Price, Side, View, continues, is_outdated, opened, resized
from common.core.exits.rules import PACED, Rules, whole
from common.core.exits.step import Exit, step
from common.core.ids import blind_exit_signal_id, exit_signal_id
from exit_strategy.core.pacing import waiting_rules, window_after

SYMBOL = "BTCUSDT"
DEBOUNCE = timedelta(milliseconds=250)
TICK = timedelta(milliseconds=1)
VALIDITY = timedelta(seconds=13)
OF = whole(rules(sl(2), tp((3, 50), (5, 100)), trail(2, 1)))
LOTS = Instrument(lot_size=Decimal("0.001"), min_order_qty=Decimal("0.001"), min_order_value=Decimal(5))
LIMITS = Limits(
    reissue=timedelta(seconds=15),
    entry_gap=timedelta(0),
    max_order_notional=Decimal(950),
    cooldown=timedelta(seconds=60),
    rate_limit=10,
    rate_window=timedelta(seconds=60),
)
UNUSED = (Hold.BAD_PRICE, Hold.OLDER_PRICE, Hold.STALE_PRICE, Hold.FUTURE_PRICE)


class Worker:
    """What one process remembers by itself."""

    def __init__(self):
        self.window = None
        self.known = None
        self.blind_ids = set()


class Sent(msgspec.Struct, kw_only=True):
    flight: Flight
    size: Decimal
    valid_until: object
    published_at: object = None
    handled: bool = False
    is_blind: bool = False


class World:
    def __init__(self):
        self.now = START
        self.price = Decimal(100)
        self.size, self.entry = Decimal(0), Decimal(100)
        self.row = None
        self.ended_at = START
        self.workers = [Worker(), Worker()]
        self.outbox = []
        self.views = []
        self.database_up = self.broker_up = True
        self.lives = 0
        self.best = self.stop = None
        self.breached = False

    # --- the market and the exchange

    def moves(self, value):
        self.tick()
        self.price = value
        return Price(value=value, seen_at=self.now, source="price_seen")

    def trades(self, size):
        """Somebody buys or sells; a position that is increased has a new average."""
        before, after = self.size, self.size + size
        if not before or (before > 0) != (after > 0):
            self.entry = self.price
        elif abs(after) > abs(before):
            self.entry = (before * self.entry + size * self.price) / after
        self.size = after
        self.tick()
        self.views.append(View(symbol=SYMBOL, size=after, entry_price=self.entry, seen_at=self.now))

    def answers(self, answer):
        """The Order Manager takes the oldest signal that is still valid, and does as `answer` says."""
        for sent in self.outbox:
            if sent.published_at is not None and not sent.handled and self.now < sent.valid_until:
                sent.handled = True
                if answer != "ignore":
                    self._answer(sent, answer)
                return

    def _answer(self, sent, answer):
        filled = {"fill": sent.size, "half": sent.size / 2, "reject": Decimal(0)}[answer]
        filled = min(filled, abs(self.size))  # reduce-only
        self.tick()
        sent.flight = msgspec.structs.replace(
            sent.flight,
            answer=Answer.FILLED if answer == "fill" else Answer.REFUSED,
            filled_size=filled,
            answered_at=self.now,
        )
        if filled:
            self.trades(-filled if self.size > 0 else filled)

    # --- what a worker does

    def hear(self, worker, price):
        if not self.database_up:
            self.hear_blind(worker, price)
            return
        if self.row is None:
            return
        waiting = waiting_rules(worker.window, self.now, DEBOUNCE)
        self.row, _, decision = step(self.row, price, OF, self.now, MAX_AGE, waiting=waiting)
        if isinstance(decision, Exit):
            worker.window = None
        else:
            worker.window = window_after(worker.window, price, decision, self.now, DEBOUNCE)
        worker.known = self.row
        if decision not in UNUSED:
            self.note(price.value)
        self.send()

    def hear_blind(self, worker, price):
        """Without the database: the stops on what is known, and one exit a position unless it is seen."""
        known = worker.known
        if known is None or (worker.blind_ids and not self.size):
            return
        alone = msgspec.structs.replace(known, latched_rule=None)
        stops = Rules(stop_loss=OF.stop_loss, version=OF.version)
        moved, _, decision = step(alone, price, stops, self.now, MAX_AGE)
        if not isinstance(decision, Exit) or any(self._is_open(sent) for sent in self.outbox):
            return
        signal_id = blind_exit_signal_id(SYMBOL, known.side, known.entry_price, self.now)
        worker.blind_ids.add(signal_id)
        if self.broker_up and all(sent.flight.signal_id != signal_id for sent in self.outbox):
            size = min(abs(known.size), Decimal(9))
            self._put(signal_id, moved, decision.verdict.rule, size, abs(known.size), is_blind=True)

    def send(self):
        if self.row is None or self.row.latched_rule is None or not self.database_up:
            return
        outcome = dispatch(self.row, OF, self.traffic(), instrument=LOTS, limits=LIMITS, now=self.now)
        if isinstance(outcome, Done):
            self.row = msgspec.structs.replace(self.row, latched_rule=None, exit_signal_id=None)
        elif isinstance(outcome, Issue):
            self._claim(outcome)

    def _claim(self, issue):
        row = self.row
        assert 0 < issue.size <= issue.size_to_close <= abs(row.size), "never more than the live size"
        assert issue.amount_quote <= LIMITS.max_order_notional
        assert not any(self._is_open(sent) for sent in self.outbox), "one in flight"
        signal_id = exit_signal_id(row.lifecycle_id, issue.rule, issue.stage, issue.generation)
        assert all(sent.flight.signal_id != signal_id for sent in self.outbox), "one signal per id"
        self._put(signal_id, row, issue.rule, issue.size, issue.size_to_close)
        self.row = msgspec.structs.replace(
            row, generation=issue.generation, exit_signal_id=signal_id, refusals=issue.refusals
        )
        self.relay()

    def _put(self, signal_id, tracked, rule, size, size_to_close, *, is_blind=False):
        flight = Flight(
            signal_id=signal_id,
            rule=rule,
            stage=tracked.stage,
            live_size=abs(tracked.size),
            size_to_close=size_to_close,
            issued_at=self.now,
        )
        published_at = self.now if is_blind else None
        sent = Sent(
            flight=flight,
            size=size,
            valid_until=self.now + VALIDITY,
            published_at=published_at,
            is_blind=is_blind,
        )
        self.outbox.append(sent)

    def relay(self):
        for sent in self.outbox:
            if sent.published_at is None and self.broker_up and self.now < sent.valid_until:
                sent.published_at = self.now
                if self.row is not None and sent.flight.signal_id == self.row.exit_signal_id:
                    self.row = msgspec.structs.replace(self.row, last_exit_at=self.now)

    def traffic(self):
        if not self.outbox:
            return Traffic()
        newest = self.outbox[-1]
        flight = newest.flight
        if newest.published_at is None and self.now >= newest.valid_until:
            flight = msgspec.structs.replace(flight, answer=Answer.EXPIRED)
        published = tuple(
            sent.published_at for sent in self.outbox if sent.published_at and sent.flight.rule in PACED
        )
        return Traffic(newest_exit=flight, published_exits=published)

    def sees(self, view):
        """A worker takes in what the Position Manager shows, early or late, once or twice."""
        if not self.database_up or view.seen_at <= self.ended_at:
            return
        if self.row is not None:
            if is_outdated(self.row, view):
                return
            reopened = was_reopened(self.row, view, self.traffic().newest_exit)
            if continues(self.row, view) and not reopened:
                entry_before = self.row.entry_price
                self.row = resized(self.row, view)
                self.best = self.row.side.best(self.best, self.row.entry_price)
                if self.row.entry_price != entry_before:
                    self.stop = None
                self.send()
                return
            self.row, self.ended_at = None, view.seen_at - TICK
        if view.size:
            self.begin(view)

    def begin(self, view):
        self.lives += 1
        opening = Opening(
            lifecycle_id=uuid5(UUID(int=0), str(self.lives)), strategy_id="momentum", opened_at=view.seen_at
        )
        self.row = opened(view, view.entry_price, opening)
        self.best, self.stop, self.breached = view.entry_price, None, False

    def restart(self, number):
        self.workers[number] = Worker()
        self.workers[number].known = self.row

    def passes(self, by):
        """Time goes by; windows end, what expired is sent anew, latched positions are looked at."""
        until = self.now + by
        while self.now < until:
            ends = [worker.window.ends_at for worker in self.workers if worker.window is not None]
            self.now = max(self.now + TICK, min([until, *ends, self.now + timedelta(seconds=1)]))
            for worker in self.workers:
                if worker.window is not None and worker.window.ends_at <= self.now:
                    self.hear(worker, worker.window.newest)
                    assert worker.window is None or not self.database_up, "a window that ended is closed"
            self.relay()
            self.send()

    def tick(self):
        self.now += TICK

    def database_returns(self):
        """What was sent blind stands in the outbox; a position's next exit has to wait for it."""
        self.database_up = True
        for worker in self.workers:
            worker.known, worker.blind_ids, worker.window = self.row, set(), None

    # --- what must hold

    def note(self, value):
        """The world's own books of the prices that a life was evaluated with."""
        side = self.row.side
        self.best = side.best(self.best, value)
        pnl_pct = (Fraction(value) / Fraction(self.row.entry_price) - 1) * 100
        if (pnl_pct if side is Side.LONG else -pnl_pct) <= -2:
            self.breached = True

    def check(self):
        row = self.row
        if row is None:
            return
        if self.breached:
            assert row.latched_rule == "stop_loss", "a breach stays latched until the position is closed"
        assert row.peak_price == self.best, "the peak is the best price of this life"
        if row.stop_price is not None:
            assert self.stop is None or not row.side.is_better(self.stop, row.stop_price), "a stop loosened"
            self.stop = row.stop_price

    def closes_in_time(self, limit=timedelta(seconds=240)):
        """A breach that stays visible, with everything up, closes all that is held, part after part."""
        self.broker_up = True
        self.database_returns()
        for view in self.views:
            self.sees(view)
        self.tick()
        until = self.now + limit
        while self.size and self.now < until:
            self.sees(View(symbol=SYMBOL, size=self.size, entry_price=self.entry, seen_at=self.now))
            value = self.entry * (Decimal("0.9") if self.size > 0 else Decimal("1.1"))
            for worker in self.workers:
                self.hear(worker, self.moves(value))
            self.answers("fill")
            self.check()
            self.passes(timedelta(milliseconds=500))
        assert not self.size, "the breach closed all that was held"

    def _is_open(self, sent):
        is_answered = sent.flight.answer is not Answer.NONE
        return not is_answered and self.now < sent.valid_until


class LeadingEdgeDebounce(World):
    """The first price of a burst is evaluated and the rest of it thrown away."""

    quiet_until = START

    def hear(self, worker, price):
        if self.now < self.quiet_until:
            if self.row is not None:
                self.note(price.value)
            return
        self.quiet_until = self.now + DEBOUNCE
        super().hear(worker, price)


class LatchLostAtRestart(World):
    """A process that starts knows no latch."""

    def restart(self, number):
        if self.row is not None:
            self.row = msgspec.structs.replace(self.row, latched_rule=None, latched_at=None)
        super().restart(number)


class PeakThatResets(World):
    """A process that starts takes the price of the moment for the best."""

    def restart(self, number):
        if self.row is not None:
            self.row = msgspec.structs.replace(
                self.row, peak_price=self.row.last_price or self.row.entry_price
            )
        super().restart(number)


PLANTED = (LeadingEdgeDebounce, LatchLostAtRestart, PeakThatResets)
