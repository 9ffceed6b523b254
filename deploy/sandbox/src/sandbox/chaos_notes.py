"""What is written down during a chaos run: the wire, the log lines that matter, when all were ready again."""

import json
from collections import Counter
from datetime import UTC, datetime

from sandbox.core.audit.record import Heard
from sandbox.narration import Narrator

_LONGEST_LINE = 400
_ERRORS_KEPT = 500


class Notes:
    """Everything that was noted so far."""

    def __init__(self, narrator: Narrator, began: datetime, secrets: list[str]) -> None:
        self.wire: list[Heard] = []
        self.events: Counter[str] = Counter()
        self.errors: list[str] = []
        self.leaks: list[str] = []
        """Where a secret was written, never the text."""
        self.secrets = secrets
        self.healings: list[tuple[datetime, datetime | None]] = []
        """When all was healed, and when all services were ready; None: never seen."""
        self.began = began
        self._narrator = narrator

    def heard(self, message: Heard) -> None:
        """A message crossed the wire."""
        self.wire.append(message)
        self.scan(f"the wire, {message.exchange or message.queue}", message.body.decode(errors="replace"))

    def scan(self, where: str, text: str) -> None:
        """`text` is public: a secret in it is a leak."""
        if any(secret in text for secret in self.secrets):
            self.leaks.append(where)

    def step(self, text: str) -> None:
        """Something that a reader follows the run by."""
        self._narrator.step(f"{(datetime.now(UTC) - self.began).total_seconds():6.1f} s  {text}")

    def line(self, name: str, line: str) -> None:
        """A process wrote a line."""
        event = _event(line)
        self.scan(f"the log of {name}, {event.get('event', 'no event')}", line)
        self.events[str(event.get("event"))] += 1
        is_error = event.get("level") in ("error", "critical") or "exception" in event or "Traceback" in line
        if is_error and len(self.errors) < _ERRORS_KEPT:
            self.errors.append(f"{name}: {line[:_LONGEST_LINE]}")


def _event(line: str) -> dict[str, object]:
    try:
        event = json.loads(line)
    except ValueError:
        return {}
    return event if isinstance(event, dict) else {}
