"""What of a price must be stored before the next one: what a crash may not take back.

A price that fires nothing changes figures, and sometimes the best price. Figures may be lost, and with them a
best price that is hardly better than the stored one: from PEAK_STEP on it is stored at once, so that after a
restart it is less than a tenth of a percent off.
"""

from decimal import Decimal

from common.core.exits.position import Tracked

PEAK_STEP = Decimal("0.0005")
"""How much better than the stored best price, as a share of it, one may be that is not stored yet."""


def may_wait(stored: Tracked, seen: Tracked) -> bool:
    """Whether what `seen` shows beyond `stored`, the same life earlier, may be stored later."""
    if seen.armed != stored.armed or seen.rules_version != stored.rules_version:
        return False
    return abs(seen.peak_price - stored.peak_price) <= stored.peak_price * PEAK_STEP
