"""What went wrong, named by what the receiver should do about it.

The docstring of a class is the explanation that operators read; docs/architecture.md holds the table of
what is retried, how long, and what never.
"""

import msgspec

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What decoding raises where bytes are not what was expected: shape, encoding, or depth."""


class FleetError(Exception):
    """Something in the fleet's own rules was broken."""


class Unusable(FleetError):
    """The input can never succeed: it goes to the dead letters with its reason, at once."""


class TryAgain(FleetError):
    """A neighbour did not answer: the message is tried again in place and then handed back to its queue."""


class NotFound(FleetError):
    """What was named does not exist: name something else."""


class Conflict(FleetError):
    """Somebody else changed the same thing first, or it is in the way: look again, then decide."""


class Unroutable(TryAgain):
    """The broker has no queue for a message: nobody would have received it."""


class OutcomeUnknown(TryAgain):
    """The broker did not confirm in time: the message may or may not have arrived."""


def first_line(error: BaseException) -> str:
    """What `error` says, as a log line has room for; its kind where it says nothing, as a time-out does."""
    said = str(error).splitlines()
    return said[0] if said else type(error).__name__
