"""When to ask a neighbour again: steadily while it answers, ever more rarely while it does not."""

import msgspec

LONGEST_S = 10.0
"""Longest pause between questions, in seconds, however long nobody answered."""


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """When the next question is due, on a monotonic clock in seconds."""

    next_at: float = 0.0
    failures: int = 0
    """In a row."""

    def answered(self, now: float, interval_s: float) -> "Pace":
        """After an answer: the next question is due an interval later."""
        return Pace(next_at=now + interval_s)

    def failed(self, now: float, interval_s: float) -> "Pace":
        """After no answer: the pause doubles with every failure in a row, from the interval to LONGEST_S."""
        pause_s = min(interval_s * 2.0 ** min(self.failures, 30), max(LONGEST_S, interval_s))
        return Pace(next_at=now + pause_s, failures=self.failures + 1)
