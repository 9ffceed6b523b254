"""What a worker remembers of its decisions, who looks at it, and when it is stored.

Everybody here hears what the worker sees and does, and nobody holds it up: hearing only takes a note, looking
and storing run beside the messages.
"""

from collections.abc import Callable, Coroutine
from datetime import timedelta

from faststream.rabbit import RabbitBroker
from sqlalchemy.ext.asyncio import AsyncEngine

from common.background import every
from common.ws_gateway import WsGateway
from inference import contributions
from inference.balances import BalanceRefresh
from inference.bars import MinuteBars
from inference.contributions import Contributions
from inference.core.reasons import Reason, Skip
from inference.delays import Delays
from inference.holdings import Holdings
from inference.lacked_features import LackedFeatures
from inference.live_quality import LiveQuality
from inference.modes import Modes
from inference.outcomes import Outcomes
from inference.price_feed import PriceFeed
from inference.proposals import Prediction
from inference.rejections import BalanceRejections
from inference.retention import Retention
from inference.settings import Settings
from inference.trips import Trips
from inference.worker import Listeners, Published

MODES_INTERVAL_S = 10.0
"""How often it is looked whether a strategy changed its mode."""
FLUSH_INTERVAL_S = 2.0
"""How often outcomes and bars are stored."""
LIVE_QUALITY_INTERVAL_S = 5.0
"""How often the scores of predictions are stored."""
TRIP_INTERVAL_S = 5.0
"""How often it is looked for what has to stop the fleet."""
WATCH_INTERVAL_S = 30.0
"""How often late signals and refused balances are looked for."""
RETENTION_INTERVAL_S = 600.0
"""How often old rows are deleted."""

Work = Callable[[], Coroutine[object, object, None]]


class Watch:
    """What is remembered of decisions, and who looks at it."""

    def __init__(
        self, settings: Settings, engine: AsyncEngine, broker: RabbitBroker, gateway: WsGateway, replica: str
    ) -> None:
        self.outcomes = Outcomes(replica, settings.strategies())
        self._engine = engine
        self._bars = MinuteBars()
        self._prices = PriceFeed(broker)
        self._lacked = LackedFeatures()
        self._quality = LiveQuality(engine, settings.alignment())
        self._contributions = Contributions(engine)
        self._delays = Delays(
            engine, settings.signal_processing_delay_alert_threshold_seconds, settings.strategies()
        )
        self._trips = Trips(
            engine,
            signals_per_minute=settings.signals_per_minute_trip,
            frozen_predictions=settings.model_output_frozen_predictions,
            state_initial=settings.trading_state_initial,
        )
        self._modes = Modes(
            {name: settings.of_strategy(name).warm_up_limit_hours() for name in settings.strategies()},
            engine,
            state_initial=settings.trading_state_initial,
        )
        self._rejections = BalanceRejections(engine)
        self._balances = BalanceRefresh(engine, gateway) if settings.ws_gateway_host else None
        self._retention = Retention(
            engine,
            outbox=timedelta(days=settings.signal_outbox_keep_days),
            monitoring=timedelta(days=settings.monitoring_keep_days),
        )

    def predictions(self) -> tuple[Callable[[Prediction], None], ...]:
        """Who hears every prediction."""
        return (
            lambda each: self._lacked.note(each.vector.symbol, each.loaded.model, each.row),
            lambda each: self._quality.noted(each.loaded.model, each.vector, each.answer),
            lambda each: self._trips.output_seen(each.strategy_id, each.row, each.raw),
        )

    def listeners(self, holdings: Holdings) -> Listeners:
        """Who hears what the worker sees and does."""
        return Listeners(
            priced=(self._prices.note,),
            screened=(
                self._bars.note,
                holdings.note,
                lambda vector, snapshot: self._quality.observe(vector, snapshot.price),
            ),
            skipped=(self._refresh_balance,),
            published=(
                lambda each: self._delays.note(each.strategy_id, each.arrived_at, each.published_at),
                self._explain,
            ),
        )

    def work(self) -> list[Work]:
        """What runs beside the messages."""
        rounds: list[Work] = [
            self._prices.run,
            lambda: every(FLUSH_INTERVAL_S, lambda: self.outcomes.flush(self._engine)),
            lambda: every(FLUSH_INTERVAL_S, lambda: self._bars.flush(self._engine)),
            lambda: every(LIVE_QUALITY_INTERVAL_S, self._quality.flush),
            lambda: every(contributions.ROUND_S, self._contributions.store),
            lambda: every(MODES_INTERVAL_S, self._modes.look),
            lambda: every(TRIP_INTERVAL_S, self._trips.look),
            lambda: every(WATCH_INTERVAL_S, self._delays.look),
            lambda: every(WATCH_INTERVAL_S, self._rejections.look),
            lambda: every(RETENTION_INTERVAL_S, self._retention.sweep),
        ]
        return rounds if self._balances is None else [*rounds, self._balances.run]

    def closing(self) -> list[Work]:
        """What is still to be stored at the end."""
        return [
            lambda: self.outcomes.flush(self._engine),
            lambda: self._bars.flush(self._engine),
            self._quality.flush,
            self._contributions.store,
        ]

    def _refresh_balance(self, skip: Skip) -> None:
        if self._balances and skip.reason in (Reason.BALANCE_STALE, Reason.BALANCE_UNKNOWN):
            self._balances.want()

    def _explain(self, published: Published) -> None:
        prediction = published.proposed.prediction
        if prediction is not None:
            self._contributions.record(
                published.claim.signal_id,
                published.proposed.proposal.side,
                prediction.loaded,
                prediction.row,
            )
