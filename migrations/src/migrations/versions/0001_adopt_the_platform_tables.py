"""Adopt the platform's five tables, or create them where there is no platform.

A reader of the data notices nothing: on a platform database no column, constraint, index or row changes.
On an empty database the tables appear in the platform's shape, each marked by a comment, so that the
downgrade drops what we created and nothing else.
"""

import sqlalchemy as sa
from alembic import op
from alembic.util import CommandError
from sqlalchemy.dialects.postgresql import JSONB

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

CREATED_BY_US = "created by flotilla"


def upgrade() -> None:
    database = sa.inspect(op.get_bind())
    for table in PLATFORM.sorted_tables:
        if database.has_table(table.name):
            _adopt(table, {column["name"] for column in database.get_columns(table.name)})
        else:
            table.create(op.get_bind())


def downgrade() -> None:
    database = sa.inspect(op.get_bind())
    for table in reversed(PLATFORM.sorted_tables):
        if not database.has_table(table.name):
            continue
        if database.get_table_comment(table.name)["text"] == CREATED_BY_US:
            table.drop(op.get_bind())


def _adopt(table: sa.Table, found: set[str]) -> None:
    missing = [column.name for column in table.columns if column.name not in found]
    if missing:
        raise CommandError(
            f"table {table.name} exists but lacks {', '.join(missing)}: "
            "apply the platform's own migrations first, or choose an empty database"
        )


def _table(name: str, *parts: sa.schema.SchemaItem) -> None:
    sa.Table(name, PLATFORM, *parts, comment=CREATED_BY_US)


def _id() -> sa.Column[object]:
    return sa.Column("id", sa.Uuid, primary_key=True, server_default=sa.text("gen_random_uuid()"))


def _now(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime, nullable=False, server_default=sa.text("now()"))


def _flag(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.Boolean, nullable=False, server_default=sa.text("false"))


PLATFORM = sa.MetaData()
_table(
    "trading_signals",
    _id(),
    sa.Column("signal_id", sa.Uuid, nullable=False, unique=True),
    sa.Column("strategy_id", sa.String(100), nullable=False),
    sa.Column("asset", sa.String(50), nullable=False),
    sa.Column("side", sa.String(10), nullable=False),
    sa.Column("price", sa.Numeric(20, 8), nullable=False),
    sa.Column("confidence", sa.Numeric(5, 4)),
    sa.Column("timestamp", sa.DateTime, nullable=False),
    sa.Column("model_version", sa.String(50)),
    _flag("is_warmup"),
    sa.Column("market_data_snapshot", JSONB),
    sa.Column("metadata", JSONB),
    sa.Column("trace_id", sa.String(100)),
    _now("created_at"),
    sa.CheckConstraint("side IN ('buy', 'sell')", name="chk_side"),
    sa.CheckConstraint("price > 0", name="trading_signals_price_check"),
    sa.CheckConstraint("confidence >= 0 AND confidence <= 1", name="chk_confidence"),
    sa.Index("idx_trading_signals_timestamp", sa.text("timestamp DESC")),
    sa.Index("idx_trading_signals_signal_id", "signal_id"),
    sa.Index("idx_trading_signals_strategy_id", "strategy_id"),
    sa.Index("idx_trading_signals_asset", "asset"),
)
_table(
    "model_versions",
    _id(),
    sa.Column("version", sa.String(50), nullable=False, unique=True),
    sa.Column("file_path", sa.String(500), nullable=False),
    sa.Column("model_type", sa.String(50), nullable=False),
    sa.Column("strategy_id", sa.String(100)),
    _now("trained_at"),
    sa.Column("training_duration_seconds", sa.Integer),
    sa.Column("training_dataset_size", sa.Integer),
    sa.Column("training_config", JSONB),
    _flag("is_active"),
    _flag("is_warmup_mode"),
    _now("created_at"),
    _now("updated_at"),
    sa.CheckConstraint(r"version ~ '^v\d+(\.\d+)?$'", name="chk_version_format"),
    sa.CheckConstraint("file_path LIKE '/models/%'", name="chk_file_path"),
    sa.CheckConstraint(
        "model_type IN ('xgboost', 'random_forest', 'logistic_regression', 'sgd_classifier')",
        name="chk_model_type",
    ),
    sa.Index("idx_model_versions_strategy_id", "strategy_id"),
    sa.Index("idx_model_versions_trained_at", sa.text("trained_at DESC")),
    sa.Index(
        "idx_model_versions_unique_active", "strategy_id", unique=True, postgresql_where=sa.text("is_active")
    ),
)
_table(
    "execution_events",
    _id(),
    sa.Column("signal_id", sa.Uuid, nullable=False),
    sa.Column("strategy_id", sa.String(100), nullable=False),
    sa.Column("asset", sa.String(50), nullable=False),
    sa.Column("side", sa.String(10), nullable=False),
    sa.Column("execution_price", sa.Numeric(20, 8), nullable=False),
    sa.Column("execution_quantity", sa.Numeric(20, 8), nullable=False),
    sa.Column("execution_fees", sa.Numeric(20, 8), nullable=False),
    sa.Column("executed_at", sa.DateTime, nullable=False),
    sa.Column("signal_price", sa.Numeric(20, 8), nullable=False),
    sa.Column("signal_timestamp", sa.DateTime, nullable=False),
    sa.Column("performance", JSONB, nullable=False),
    _now("created_at"),
    _flag("used_for_training"),
    sa.Column("training_id", sa.Uuid, sa.ForeignKey("model_versions.id")),
    sa.CheckConstraint("side IN ('buy', 'sell')", name="chk_side"),
    sa.CheckConstraint("execution_price > 0", name="execution_events_execution_price_check"),
    sa.CheckConstraint("execution_quantity > 0", name="execution_events_execution_quantity_check"),
    sa.CheckConstraint("execution_fees >= 0", name="execution_events_execution_fees_check"),
    sa.Index("idx_execution_events_executed_at", sa.text("executed_at DESC")),
    sa.Index("idx_execution_events_signal_id", "signal_id"),
    sa.Index("idx_execution_events_strategy_id", "strategy_id"),
)
_table(
    "model_quality_metrics",
    _id(),
    sa.Column(
        "model_version_id",
        sa.Uuid,
        sa.ForeignKey("model_versions.id", ondelete="CASCADE"),
        nullable=False,
    ),
    sa.Column("metric_name", sa.String(100), nullable=False),
    sa.Column("metric_value", sa.Numeric(20, 8), nullable=False),
    sa.Column("metric_type", sa.String(50), nullable=False),
    _now("evaluated_at"),
    sa.Column("evaluation_dataset_size", sa.Integer),
    sa.Column("metadata", JSONB),
    sa.CheckConstraint(
        "metric_type IN ('classification', 'regression', 'trading_performance')", name="chk_metric_type"
    ),
    sa.CheckConstraint(
        "metric_type <> 'classification' OR (metric_value >= 0 AND metric_value <= 1)",
        name="chk_metric_value_bounds",
    ),
    sa.Index("idx_model_quality_metrics_model_version_id", "model_version_id"),
    sa.Index("idx_model_quality_metrics_metric_name", "metric_name"),
    sa.Index("idx_model_quality_metrics_evaluated_at", sa.text("evaluated_at DESC")),
)
_table(
    "position_states",
    sa.Column("asset", sa.String(20), primary_key=True),
    sa.Column("entry_price", sa.Numeric(20, 8), nullable=False),
    sa.Column("entry_time", sa.DateTime, nullable=False),
    sa.Column("peak_price", sa.Numeric(20, 8), nullable=False),
    sa.Column("highest_unrealized_pnl", sa.Numeric(20, 8), nullable=False, server_default=sa.text("0")),
    sa.Column("last_exit_signal_time", sa.DateTime),
    _now("created_at"),
    _now("updated_at"),
    sa.CheckConstraint("entry_price > 0", name="chk_entry_price_positive"),
    sa.CheckConstraint("peak_price > 0", name="chk_peak_price_positive"),
    sa.Index("idx_position_states_entry_time", "entry_time"),
    sa.Index("idx_position_states_updated_at", "updated_at"),
)
