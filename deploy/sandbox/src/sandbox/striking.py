"""Striking: the planned faults of one phase happen, overlap, heal, and each is written down."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from sandbox import faults
from sandbox.core.audit.record import Span
from sandbox.fault_plan import Strike
from sandbox.faults import Ground

HEALING_LIMIT_S = 120.0


class Striker:
    """Strikes what is planned; `spans` is what happened so far."""

    def __init__(self, ground: Ground, tell: Callable[[str], None]) -> None:
        self.spans: list[Span] = []
        self._ground = ground
        self._tell = tell
        self._locks: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def phase(self, strikes: Sequence[Strike]) -> datetime:
        """All faults of the phase began and were healed; when the last one was.

        Raises TimeoutError where one does not heal.
        """
        async with asyncio.timeout(max((each.at_s for each in strikes), default=0.0) + HEALING_LIMIT_S):
            await asyncio.gather(*map(self._strike, strikes))
        return max((each.healed_at for each in self.spans), default=datetime.now(UTC))

    async def _strike(self, strike: Strike) -> None:
        await asyncio.sleep(strike.at_s)
        async with self._locks[strike.target]:
            began_at, problem = datetime.now(UTC), None
            self._tell(f"{strike.kind}: {strike.target} for {strike.hold_s:.1f} s")
            try:
                async with faults.fault_of(strike.kind)(self._ground, strike.target):
                    await asyncio.sleep(strike.hold_s)
            except Exception as error:  # noqa: BLE001 - one that fails must not end the run; it is reported
                problem = repr(error)
            self.spans.append(
                Span(
                    kind=strike.kind,
                    target=strike.target,
                    began_at=began_at,
                    healed_at=datetime.now(UTC),
                    problem=problem,
                )
            )
