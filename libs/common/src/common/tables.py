"""The schema: every table that a Flotilla service reads or writes, and nothing more.

`ours` holds what we own and migrate. Five of its tables are older than we are (`ADOPTED`): the platform
created them, Grafana and the neighbours read them, and they keep their shape. Their timestamps are naive
UTC; those of our own tables carry a zone. `neighbours` holds what others own: only the columns we read,
marked `info={"read_only": True}`, never written and never migrated by us. PostgreSQL 15 is the floor.
"""

from sqlalchemy import (
    CHAR,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Double,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    Sequence,
    String,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

SCHEMA_HEAD = "0009"
"""The revision this code was written for; readiness compares it with `schema_version`."""

ADOPTED = (
    "trading_signals",
    "model_versions",
    "execution_events",
    "model_quality_metrics",
    "position_states",
)
"""Tables of `ours` that exist on a platform database before our first migration."""

ours = MetaData()
neighbours = MetaData(info={"read_only": True})

_DECIMAL = Numeric(20, 8)
_EXACT = Numeric(30, 12)
_NAIVE_UTC = DateTime()
_TIMESTAMPTZ = DateTime(timezone=True)
_NEW_ID = text("gen_random_uuid()")
_NOW = text("now()")
_FALSE = text("false")
_ZERO = text("0")
_READ_ONLY = {"read_only": True}

schema_version = Table(
    "flotilla_alembic_version",
    MetaData(),
    Column("version_num", String(32), primary_key=True),
)
"""One row, the revision of the database; written by the migrations alone, absent before the first one."""


# Ours, adopted from the platform

trading_signals = Table(
    "trading_signals",
    ours,
    Column("id", Uuid, primary_key=True, server_default=_NEW_ID),
    Column("signal_id", Uuid, nullable=False, unique=True),
    Column("strategy_id", String(100), nullable=False),
    Column("asset", String(50), nullable=False),
    Column("side", String(10), nullable=False),
    Column("price", _DECIMAL, nullable=False),
    Column("confidence", Numeric(5, 4)),
    Column("timestamp", _NAIVE_UTC, nullable=False),
    Column("model_version", String(50)),
    Column("is_warmup", Boolean, nullable=False, server_default=_FALSE),
    Column("market_data_snapshot", JSONB),
    Column("metadata", JSONB),
    Column("trace_id", String(100)),
    Column("created_at", _NAIVE_UTC, nullable=False, server_default=_NOW),
    Column("amount_quote", _DECIMAL),
    CheckConstraint("side IN ('buy', 'sell')", name="chk_side"),
    CheckConstraint("price > 0", name="trading_signals_price_check"),
    CheckConstraint("confidence >= 0 AND confidence <= 1", name="chk_confidence"),
    Index("idx_trading_signals_timestamp", text("timestamp DESC")),
    Index("idx_trading_signals_signal_id", "signal_id"),
    Index("idx_trading_signals_strategy_id", "strategy_id"),
    Index("idx_trading_signals_asset", "asset"),
    Index("idx_trading_signals_strategy_timestamp", "strategy_id", text('"timestamp" DESC')),
    Index("idx_trading_signals_asset_timestamp", "asset", text('"timestamp" DESC')),
    Index(
        "idx_trading_signals_exits",
        text('"timestamp" DESC'),
        postgresql_where=text("(metadata ->> 'rule_triggered') IS NOT NULL"),
    ),
    Index("idx_trading_signals_warmup", text('"timestamp" DESC'), postgresql_where=text("is_warmup")),
)
"""One row per published signal. `amount_quote` is ours: null on rows older than revision 0002."""

model_versions = Table(
    "model_versions",
    ours,
    Column("id", Uuid, primary_key=True, server_default=_NEW_ID),
    Column("version", String(50), nullable=False, unique=True),
    Column("file_path", String(500), nullable=False),
    Column("model_type", String(50), nullable=False),
    Column("strategy_id", String(100)),
    Column("trained_at", _NAIVE_UTC, nullable=False, server_default=_NOW),
    Column("training_duration_seconds", Integer),
    Column("training_dataset_size", Integer),
    Column("training_config", JSONB),
    Column("is_active", Boolean, nullable=False, server_default=_FALSE),
    Column("is_warmup_mode", Boolean, nullable=False, server_default=_FALSE),
    Column("created_at", _NAIVE_UTC, nullable=False, server_default=_NOW),
    Column("updated_at", _NAIVE_UTC, nullable=False, server_default=_NOW),
    Column("sha256", CHAR(64)),
    Column("run_id", Uuid),
    Column("verdict", String(30)),
    Column("verdict_sentence", Text),
    Column("evidence", JSONB),
    CheckConstraint(
        "verdict IN ('accepted', 'refused', 'insufficient_evidence', 'quarantined')",
        name="model_versions_verdict_check",
    ),
    CheckConstraint(r"version ~ '^v\d+(\.\d+)?$'", name="chk_version_format"),
    CheckConstraint("file_path LIKE '/models/%'", name="chk_file_path"),
    CheckConstraint(
        "model_type IN ('xgboost', 'random_forest', 'logistic_regression', 'sgd_classifier')",
        name="chk_model_type",
    ),
    Index("idx_model_versions_strategy_id", "strategy_id"),
    Index("idx_model_versions_trained_at", text("trained_at DESC")),
    Index("idx_model_versions_strategy_trained_at", "strategy_id", text("trained_at DESC")),
    Index("idx_model_versions_created_at", text("created_at DESC")),
    Index("idx_model_versions_number", text("(string_to_array(substr(version, 2), '.')::numeric[])")),
    Index("idx_model_versions_counted", "strategy_id", "model_type", "is_active"),
    Index("idx_model_versions_unique_active", "strategy_id", unique=True, postgresql_where=text("is_active")),
)
"""One row per trained version. `file_path` is logical (`/models/v{n}`); a null `strategy_id` is read as
strategy `default` and never written: the unique index on active versions does not cover nulls. `is_active`
mirrors the newest row of `activations`. From `sha256` on the columns are ours, null on rows older than
revision 0004; without `sha256` (of the manifest) a version cannot be served."""

execution_events = Table(
    "execution_events",
    ours,
    Column("id", Uuid, primary_key=True, server_default=_NEW_ID),
    Column("signal_id", Uuid, nullable=False),
    Column("strategy_id", String(100), nullable=False),
    Column("asset", String(50), nullable=False),
    Column("side", String(10), nullable=False),
    Column("execution_price", _DECIMAL, nullable=False),
    Column("execution_quantity", _DECIMAL, nullable=False),
    Column("execution_fees", _DECIMAL, nullable=False),
    Column("executed_at", _NAIVE_UTC, nullable=False),
    Column("signal_price", _DECIMAL, nullable=False),
    Column("signal_timestamp", _NAIVE_UTC, nullable=False),
    Column("performance", JSONB, nullable=False),
    Column("created_at", _NAIVE_UTC, nullable=False, server_default=_NOW),
    Column("used_for_training", Boolean, nullable=False, server_default=_FALSE),
    Column("training_id", Uuid, ForeignKey("model_versions.id")),
    CheckConstraint("side IN ('buy', 'sell')", name="chk_side"),
    CheckConstraint("execution_price > 0", name="execution_events_execution_price_check"),
    CheckConstraint("execution_quantity > 0", name="execution_events_execution_quantity_check"),
    CheckConstraint("execution_fees >= 0", name="execution_events_execution_fees_check"),
    Index("idx_execution_events_executed_at", text("executed_at DESC")),
    Index("idx_execution_events_signal_id", "signal_id"),
    Index("idx_execution_events_strategy_id", "strategy_id"),
    Index("idx_execution_events_strategy_executed_at", "strategy_id", text("executed_at DESC")),
    Index("idx_execution_events_asset_executed_at", "asset", text("executed_at DESC")),
)
"""One row per fill. `performance.realized_pnl` is quote currency and ours to compute; `used_for_training`
and `training_id` are never written."""

model_quality_metrics = Table(
    "model_quality_metrics",
    ours,
    Column("id", Uuid, primary_key=True, server_default=_NEW_ID),
    Column("model_version_id", Uuid, ForeignKey("model_versions.id", ondelete="CASCADE"), nullable=False),
    Column("metric_name", String(100), nullable=False),
    Column("metric_value", _DECIMAL, nullable=False),
    Column("metric_type", String(50), nullable=False),
    Column("evaluated_at", _NAIVE_UTC, nullable=False, server_default=_NOW),
    Column("evaluation_dataset_size", Integer),
    Column("metadata", JSONB),
    CheckConstraint(
        "metric_type IN ('classification', 'regression', 'trading_performance')", name="chk_metric_type"
    ),
    CheckConstraint(
        """metric_type <> 'classification' OR CASE
            WHEN metric_name IN (
                'accuracy', 'balanced_accuracy', 'baseline_accuracy', 'precision', 'recall', 'f1', 'f1_score',
                'roc_auc', 'pr_auc', 'brier', 'brier_score', 'ece'
            ) THEN metric_value >= 0 AND metric_value <= 1
            WHEN metric_name = 'mcc' THEN metric_value >= -1 AND metric_value <= 1
            WHEN metric_name = 'log_loss' THEN metric_value >= 0 AND metric_value <> 'NaN'
            ELSE metric_value <> 'NaN'
        END""",
        name="chk_metric_value_by_name",
    ),
    Index("idx_model_quality_metrics_model_version_id", "model_version_id"),
    Index("idx_model_quality_metrics_metric_name", "metric_name"),
    Index("idx_model_quality_metrics_evaluated_at", text("evaluated_at DESC")),
    Index(
        "idx_model_quality_metrics_of_version",
        "model_version_id",
        text("(metadata ->> 'dataset_split')"),
        "evaluated_at",
    ),
)
"""One row per version, metric and split (`metadata.dataset_split`: validation, test or live)."""

position_states = Table(
    "position_states",
    ours,
    Column("asset", String(20), primary_key=True),
    Column("entry_price", _DECIMAL, nullable=False),
    Column("entry_time", _NAIVE_UTC, nullable=False),
    Column("peak_price", _DECIMAL, nullable=False),
    Column("highest_unrealized_pnl", _DECIMAL, nullable=False, server_default=_ZERO),
    Column("last_exit_signal_time", _NAIVE_UTC),
    Column("created_at", _NAIVE_UTC, nullable=False, server_default=_NOW),
    Column("updated_at", _NAIVE_UTC, nullable=False, server_default=_NOW),
    CheckConstraint("entry_price > 0", name="chk_entry_price_positive"),
    CheckConstraint("peak_price > 0", name="chk_peak_price_positive"),
    Index("idx_position_states_entry_time", "entry_time"),
    Index("idx_position_states_updated_at", "updated_at"),
)
"""The older exit worker's state: kept, no side and no lifecycle."""


# Ours, new

signal_outbox = Table(
    "signal_outbox",
    ours,
    Column("signal_id", Uuid, primary_key=True),
    Column("kind", String(10), nullable=False),
    Column("strategy_id", String(100), nullable=False),
    Column("symbol", String(50), nullable=False),
    Column("side", String(4), nullable=False),
    Column("amount_quote", _DECIMAL, nullable=False),
    Column("payload", Text, nullable=False),
    Column("trace_id", String(100), nullable=False),
    Column("feature_timestamp", _TIMESTAMPTZ),
    Column("valid_until", _TIMESTAMPTZ, nullable=False),
    Column("state", String(10), nullable=False, server_default="pending"),
    Column("reason", Text),
    Column("owner", String(100), nullable=False),
    Column("lease_until", _TIMESTAMPTZ, nullable=False),
    Column("attempts", Integer, nullable=False, server_default=_ZERO),
    Column("created_at", _TIMESTAMPTZ, nullable=False, server_default=_NOW),
    Column("published_at", _TIMESTAMPTZ),
    CheckConstraint("kind IN ('entry', 'exit')", name="signal_outbox_kind_check"),
    CheckConstraint("side IN ('buy', 'sell')", name="signal_outbox_side_check"),
    CheckConstraint("amount_quote > 0 AND amount_quote <> 'NaN'", name="signal_outbox_amount_quote_check"),
    CheckConstraint("state IN ('pending', 'published', 'expired')", name="signal_outbox_state_check"),
    Index("signal_outbox_pending_idx", "lease_until", postgresql_where=text("state = 'pending'")),
    Index("signal_outbox_symbol_idx", "symbol", text("created_at DESC")),
    Index("signal_outbox_symbol_kind_idx", "symbol", "kind", text("created_at DESC")),
    Index("signal_outbox_created_at_idx", "created_at"),
)
"""The intent to publish a signal, written before it is published. `payload` is the exact JSON body."""

emission_fences = Table(
    "emission_fences",
    ours,
    Column("strategy_id", String(100), primary_key=True),
    Column("symbol", String(50), primary_key=True),
    Column("newest_feature_timestamp", _TIMESTAMPTZ, nullable=False),
    Column("signal_id", Uuid, nullable=False),
    Column("updated_at", _TIMESTAMPTZ, nullable=False),
)
"""The newest vector that became a signal, per strategy and symbol: an older one never does."""

rate_limits = Table(
    "rate_limits",
    ours,
    Column("scope", String(50), primary_key=True),
    Column("tokens", Double, nullable=False),
    Column("refilled_at", _TIMESTAMPTZ, nullable=False),
)
"""One token bucket per scope, shared by all replicas."""

warmup_slots = Table(
    "warmup_slots",
    ours,
    Column("slot", _TIMESTAMPTZ, primary_key=True),
    Column("strategy_id", String(100), nullable=False),
    Column("symbol", String(50), nullable=False),
    Column("signal_id", Uuid, nullable=False),
    Column("claimed_at", _TIMESTAMPTZ, nullable=False),
)
"""Warm-up signals of the whole fleet: whoever inserts a slot may send in it."""

trading_states = Table(
    "trading_states",
    ours,
    Column("scope", String(120), primary_key=True),
    Column("state", String(10), nullable=False),
    Column("actor", String(100), nullable=False),
    Column("reason", Text, nullable=False),
    Column("changed_at", _TIMESTAMPTZ, nullable=False),
    CheckConstraint(
        "scope IN ('fleet', 'exits') OR scope LIKE 'strategy:_%'", name="trading_states_scope_check"
    ),
    CheckConstraint("state IN ('ACTIVE', 'REDUCING', 'HALTED')", name="trading_states_state_check"),
)
"""Who may trade: scope `fleet` or `strategy:<id>`, the strictest holds; exits heed `exits` alone."""

trading_state_changes = Table(
    "trading_state_changes",
    ours,
    Column("change_id", BigInteger, Identity(always=True), primary_key=True),
    Column("scope", String(120), nullable=False),
    Column("state", String(10), nullable=False),
    Column("actor", String(100), nullable=False),
    Column("reason", Text, nullable=False),
    Column("figures", JSONB),
    Column("changed_at", _TIMESTAMPTZ, nullable=False, server_default=_NOW),
    Index("trading_state_changes_changed_at_idx", text("changed_at DESC")),
    Index("trading_state_changes_scope_idx", "scope", text("change_id DESC")),
)
"""Every change of a trading state, by whom and why; only added to."""

alerts = Table(
    "alerts",
    ours,
    Column("alert_id", Uuid, primary_key=True),
    Column("kind", String(50), nullable=False),
    Column("scope", String(150), nullable=False),
    Column("severity", String(10), nullable=False),
    Column("sentence", Text, nullable=False),
    Column("figures", JSONB),
    Column("raised_at", _TIMESTAMPTZ, nullable=False, server_default=_NOW),
    Column("last_seen_at", _TIMESTAMPTZ, nullable=False, server_default=_NOW),
    Column("sightings", Integer, nullable=False, server_default=text("1")),
    Column("resolved_at", _TIMESTAMPTZ),
    CheckConstraint("severity IN ('warning', 'critical')", name="alerts_severity_check"),
    Index("alerts_open_idx", "kind", "scope", unique=True, postgresql_where=text("resolved_at IS NULL")),
    Index("alerts_raised_at_idx", text("raised_at DESC")),
    Index("alerts_resolved_at_idx", "resolved_at"),
)
"""What an operator should look at: one open row per kind and scope, until it is over."""

skip_counts = Table(
    "skip_counts",
    ours,
    Column("minute", _TIMESTAMPTZ, primary_key=True),
    Column("strategy_id", String(100), primary_key=True),
    Column("symbol", String(50), primary_key=True),
    Column("reason", String(50), primary_key=True),
    Column("skips", BigInteger, nullable=False),
)
"""How often, and why, there was no signal: one row per minute, strategy, symbol and reason."""

latest_outcomes = Table(
    "latest_outcomes",
    ours,
    Column("strategy_id", String(100), primary_key=True),
    Column("symbol", String(50), primary_key=True),
    Column("feature_timestamp", _TIMESTAMPTZ, nullable=False),
    Column("decided_at", _TIMESTAMPTZ, nullable=False),
    Column("outcome", String(6), nullable=False),
    Column("reason", String(50)),
    Column("facts", JSONB),
    Column("signal_id", Uuid),
    Column("version", String(50)),
    Column("replica", String(150), nullable=False),
    CheckConstraint("outcome IN ('signal', 'skip')", name="latest_outcomes_outcome_check"),
)
"""What became of the newest vector of a strategy and symbol, with its figures; a null version: warm-up."""

served_versions = Table(
    "served_versions",
    ours,
    Column("replica", String(150), primary_key=True),
    Column("strategy_id", String(100), primary_key=True),
    Column("state", String(12), nullable=False),
    Column("version", String(50)),
    Column("sha256", CHAR(64)),
    Column("epoch", BigInteger, nullable=False, server_default=_ZERO),
    Column("since", _TIMESTAMPTZ, nullable=False),
    Column("problem", Text),
    Column("heart_beat_at", _TIMESTAMPTZ, nullable=False, server_default=_NOW),
    CheckConstraint(
        "state IN ('warm_up', 'serving', 'lagging', 'unavailable')", name="served_versions_state_check"
    ),
    Index("served_versions_heart_beat_at_idx", "heart_beat_at"),
)
"""What each inference replica decides with; an old heart-beat: the replica is gone."""

mode_changes = Table(
    "mode_changes",
    ours,
    Column("strategy_id", String(100), primary_key=True),
    Column("epoch", BigInteger, primary_key=True, autoincrement=False),
    Column("mode", String(10), nullable=False),
    Column("version", String(50)),
    Column("reason", Text, nullable=False),
    Column("figures", JSONB, nullable=False),
    Column("changed_at", _TIMESTAMPTZ, nullable=False, server_default=_NOW),
    CheckConstraint("mode IN ('warm_up', 'model')", name="mode_changes_mode_check"),
)
"""When a strategy went from warm-up to a model or back: by the registry's epochs, 0 for none yet."""

minute_bars = Table(
    "minute_bars",
    ours,
    Column("symbol", String(50), primary_key=True),
    Column("minute", _TIMESTAMPTZ, primary_key=True),
    Column("open", _EXACT, nullable=False),
    Column("high", _EXACT, nullable=False),
    Column("low", _EXACT, nullable=False),
    Column("close", _EXACT, nullable=False),
    Column("first_at", _TIMESTAMPTZ, nullable=False),
    Column("last_at", _TIMESTAMPTZ, nullable=False),
    Column("vectors", Integer, nullable=False),
)
"""The price that the fleet saw, by minute; `first_at` and `last_at` are the vectors of open and close."""

live_sums = Table(
    "live_sums",
    ours,
    Column("version", String(50), primary_key=True),
    Column("hour", _TIMESTAMPTZ, primary_key=True),
    Column("name", String(50), primary_key=True),
    Column("value", Double, nullable=False),
)
"""What live predictions were worth, as sums that replicas add to; model_quality_metrics shows the figures."""

model_version_numbers = Sequence("model_version_numbers", metadata=ours)
"""The n of the next version `v{n}`; a number may be skipped, never given twice."""

activations = Table(
    "activations",
    ours,
    Column("strategy_id", String(100), primary_key=True),
    Column("epoch", BigInteger, primary_key=True, autoincrement=False),
    Column("version", String(50)),
    Column("sha256", CHAR(64)),
    Column("actor", String(100), nullable=False),
    Column("reason", Text, nullable=False),
    Column("activated_at", _TIMESTAMPTZ, nullable=False, server_default=_NOW),
    CheckConstraint("epoch > 0", name="activations_epoch_check"),
    CheckConstraint("(version IS NULL) = (sha256 IS NULL)", name="activations_sha256_check"),
    Index("activations_activated_at_idx", text("activated_at DESC")),
)
"""Which version a strategy trades with since when: its newest epoch holds, a null version means none."""

training_runs = Table(
    "training_runs",
    ours,
    Column("run_id", Uuid, primary_key=True),
    Column("strategy_id", String(100), nullable=False),
    Column("symbol", String(50), nullable=False),
    Column("trigger", String(20), nullable=False),
    Column("priority", String(10), nullable=False),
    Column("state", String(12), nullable=False),
    Column("requested_at", _TIMESTAMPTZ, nullable=False, server_default=_NOW),
    Column("updated_at", _TIMESTAMPTZ, nullable=False, server_default=_NOW),
    Column("started_at", _TIMESTAMPTZ),
    Column("finished_at", _TIMESTAMPTZ),
    Column("dataset_id", Uuid),
    Column("dataset_deadline", _TIMESTAMPTZ),
    Column("owner", String(100)),
    Column("lease_until", _TIMESTAMPTZ),
    Column("fence", BigInteger, nullable=False, server_default=_ZERO),
    Column("attempts", Integer, nullable=False, server_default=_ZERO),
    Column("reason", Text),
    Column("figures", JSONB),
    Column("progress", JSONB),
    Column("version", String(50)),
    Column("trace_id", String(100), nullable=False),
    Column("requested_by", String(100), nullable=False, server_default="trainer"),
    Column("cancel_requested_at", _TIMESTAMPTZ),
    Column("cancel_actor", String(100)),
    Column("cancel_reason", Text),
    Column("recoveries", Integer, nullable=False, server_default=_ZERO),
    Column("idempotency_key", String(100)),
    Column("dataset_only", Boolean, nullable=False, server_default=_FALSE),
    CheckConstraint(
        "trigger IN ('bootstrap', 'manual', 'schedule', 'degradation')", name="training_runs_trigger_check"
    ),
    CheckConstraint("priority IN ('CRITICAL', 'HIGH', 'NORMAL')", name="training_runs_priority_check"),
    CheckConstraint(
        """state IN (
            'requested', 'building', 'ready', 'running', 'succeeded', 'rejected', 'failed', 'cancelled'
        )""",
        name="training_runs_state_check",
    ),
    Index(
        "training_runs_unfinished_idx",
        "strategy_id",
        "symbol",
        unique=True,
        postgresql_where=text("state IN ('requested', 'building', 'ready', 'running')"),
    ),
    Index(
        "training_runs_running_idx", "strategy_id", unique=True, postgresql_where=text("state = 'running'")
    ),
    Index("training_runs_strategy_idx", "strategy_id", text("requested_at DESC")),
    Index("training_runs_requested_at_idx", text("requested_at DESC")),
    Index("training_runs_updated_at_idx", text("updated_at DESC")),
    Index("training_runs_state_idx", "state", text("requested_at DESC")),
    Index("training_runs_finished_at_idx", "strategy_id", text("finished_at DESC")),
    Index(
        "training_runs_idempotency_key_idx",
        "idempotency_key",
        unique=True,
        postgresql_where=text("idempotency_key IS NOT NULL"),
    ),
)
"""One row per training: the queue, and how each run ended. `fence` counts who took it: a completion under
an older fence matches nothing. `idempotency_key` is the caller's: one key, one run; a run that is
`dataset_only` ends with its dataset."""

position_lifecycles = Table(
    "position_lifecycles",
    ours,
    Column("lifecycle_id", Uuid, primary_key=True),
    Column("symbol", String(50), nullable=False),
    Column("side", String(5), nullable=False),
    Column("opened_at", _TIMESTAMPTZ, nullable=False),
    Column("strategy_id", String(100), nullable=False),
    Column("entry_price", _EXACT, nullable=False),
    Column("size", _EXACT, nullable=False),
    Column("peak_price", _EXACT, nullable=False),
    Column("armed", Boolean, nullable=False, server_default=_FALSE),
    Column("stage", Integer, nullable=False, server_default=_ZERO),
    Column("generation", Integer, nullable=False, server_default=_ZERO),
    Column("latched_rule", String(30)),
    Column("latched_at", _TIMESTAMPTZ),
    Column("exit_signal_id", Uuid),
    Column("newest_event_at", _TIMESTAMPTZ, nullable=False),
    Column("last_price", _EXACT),
    Column("last_evaluated_at", _TIMESTAMPTZ),
    Column("closed_at", _TIMESTAMPTZ),
    Column("created_at", _TIMESTAMPTZ, nullable=False, server_default=_NOW),
    Column("stop_price", _EXACT),
    Column("best_pnl_pct", _EXACT),
    Column("rules_version", String(16)),
    Column("verdicts", JSONB),
    Column("price_source", String(20)),
    Column("refusals", Integer, nullable=False, server_default=_ZERO),
    Column("last_exit_at", _TIMESTAMPTZ),
    Column("close_requested_at", _TIMESTAMPTZ),
    Column("close_actor", String(100)),
    Column("close_reason", Text),
    CheckConstraint("side IN ('long', 'short')", name="position_lifecycles_side_check"),
    Index("position_lifecycles_open_idx", "symbol", unique=True, postgresql_where=text("closed_at IS NULL")),
    Index("position_lifecycles_opened_at_idx", text("opened_at DESC")),
    Index("position_lifecycles_symbol_idx", "symbol", text("opened_at DESC")),
    Index("position_lifecycles_strategy_idx", "strategy_id", text("opened_at DESC")),
)
"""One row from the opening of a position to its close: what the exit rules remember of it. A flip closes
one lifecycle and opens another; at most one of a symbol is open. `stop_price` only ever tightens; `verdicts`
are what every rule said of the newest price, under the rules of `rules_version`; `refusals` counts exits in a
row that were refused; an operator asks for the close by `close_requested_at`."""

failed_position_updates = Table(
    "failed_position_updates",
    ours,
    Column("update_id", Uuid, primary_key=True, server_default=_NEW_ID),
    Column("symbol", String(50)),
    Column("body", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("trace_id", String(100), nullable=False),
    Column("seen_at", _TIMESTAMPTZ, nullable=False, server_default=_NOW),
    Index("failed_position_updates_seen_at_idx", text("seen_at DESC")),
)
"""Position updates that could not be used, whole; a symbol that was readable was evaluated over REST."""

booked_orders = Table(
    "booked_orders",
    ours,
    Column("order_id", String(100), primary_key=True),
    Column("signal_id", Uuid, nullable=False),
    Column("filled_quantity", _DECIMAL, nullable=False),
    Column("filled_value", _EXACT, nullable=False),
    Column("fees", _DECIMAL, nullable=False),
    Column("order_updated_at", _TIMESTAMPTZ, nullable=False),
    Column("booked_at", _TIMESTAMPTZ, nullable=False, server_default=_NOW),
    Index("booked_orders_order_updated_at_idx", "order_updated_at"),
)
"""How much of each order stands in execution_events already; `filled_value` is quote currency."""

fill_books = Table(
    "fill_books",
    ours,
    Column("strategy_id", String(100), primary_key=True),
    Column("symbol", String(50), primary_key=True),
    Column("lots", JSONB, nullable=False),
    Column("fills", BigInteger, nullable=False, server_default=_ZERO),
    Column("updated_at", _TIMESTAMPTZ, nullable=False, server_default=_NOW),
)
"""What a strategy's fills of a symbol left open, the oldest lot first; locked while a fill is booked."""

invalid_executions = Table(
    "invalid_executions",
    ours,
    Column("execution_id", Uuid, primary_key=True),
    Column("source", String(10), nullable=False),
    Column("order_id", String(100)),
    Column("reason", Text, nullable=False),
    Column("body", JSONB, nullable=False),
    Column("seen_at", _TIMESTAMPTZ, nullable=False, server_default=_NOW),
    CheckConstraint("source IN ('orders', 'queue')", name="invalid_executions_source_check"),
    Index("invalid_executions_seen_at_idx", text("seen_at DESC")),
)
"""Executions that break docs/validation-rules.md, as they came, each once, with its reason."""


dead_letters = Table(
    "dead_letters",
    ours,
    Column("letter_id", Uuid, primary_key=True),
    Column("queue", String(255), nullable=False),
    Column("service", String(100), nullable=False),
    Column("reason", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("headers", JSONB, nullable=False),
    Column("content_type", String(255)),
    Column("message_id", String(255)),
    Column("trace_id", String(100), nullable=False),
    Column("failed_at", _TIMESTAMPTZ, nullable=False),
    Column("collected_at", _TIMESTAMPTZ, nullable=False, server_default=_NOW),
    Column("state", String(10), nullable=False, server_default="open"),
    Column("settled_at", _TIMESTAMPTZ),
    Column("settled_by", String(100)),
    Column("settled_reason", Text),
    CheckConstraint("state IN ('open', 'replayed', 'discarded')", name="dead_letters_state_check"),
    Index("dead_letters_failed_at_idx", text("failed_at DESC")),
    Index("dead_letters_state_idx", "state", text("failed_at DESC")),
    Index("dead_letters_queue_idx", "queue", text("failed_at DESC"), postgresql_include=["state"]),
)
"""Messages that could not be used, as they came, taken over from the broker's queue for an operator to
settle; `headers` are the message's own."""

operator_actions = Table(
    "operator_actions",
    ours,
    Column("action_id", BigInteger, Identity(always=True), primary_key=True),
    Column("acted_at", _TIMESTAMPTZ, nullable=False, server_default=_NOW),
    Column("actor", String(100), nullable=False),
    Column("action", String(50), nullable=False),
    Column("subject", String(150), nullable=False),
    Column("reason", Text),
    Column("details", JSONB),
    Column("trace_id", String(100), nullable=False),
    Index("operator_actions_acted_at_idx", text("acted_at DESC")),
    Index("operator_actions_actor_idx", "actor", text("action_id DESC")),
    Index("operator_actions_action_idx", "action", text("action_id DESC")),
    Index("operator_actions_subject_idx", "subject", text("action_id DESC")),
)
"""Every command that came over the API and took effect, in the transaction of its effect; only added to."""


# The neighbours', read-only

orders = Table(
    "orders",
    neighbours,
    Column("id", Uuid, primary_key=True, server_default=_NEW_ID),
    Column("order_id", String(100), nullable=False, unique=True),
    Column("signal_id", Uuid, nullable=False),
    Column("asset", String(20), nullable=False),
    Column("side", String(10), nullable=False),
    Column("order_type", String(20), nullable=False),
    Column("quantity", _DECIMAL, nullable=False),
    Column("price", _DECIMAL),
    Column("status", String(50), nullable=False, server_default="pending"),
    Column("filled_quantity", _DECIMAL, nullable=False, server_default=_ZERO),
    Column("average_price", _DECIMAL),
    Column("fees", _DECIMAL),
    Column("created_at", _NAIVE_UTC, nullable=False, server_default=_NOW),
    Column("updated_at", _NAIVE_UTC, nullable=False, server_default=_NOW),
    Column("executed_at", _NAIVE_UTC),
    Column("trace_id", String(100)),
    Column("is_dry_run", Boolean, nullable=False, server_default=_FALSE),
    Column("rejection_reason", Text),
    info=_READ_ONLY,
)
"""Order Manager's. `side` is `Buy` or `SELL`; no strategy: join `trading_signals` on `signal_id`."""

signal_order_relationships = Table(
    "signal_order_relationships",
    neighbours,
    Column("id", Uuid, primary_key=True, server_default=_NEW_ID),
    Column("signal_id", Uuid, nullable=False),
    Column("order_id", Uuid, ForeignKey("orders.id", ondelete="CASCADE"), nullable=False),
    Column("relationship_type", String(20), nullable=False),
    Column("created_at", _NAIVE_UTC, nullable=False, server_default=_NOW),
    UniqueConstraint("signal_id", "order_id"),
    info=_READ_ONLY,
)
"""Order Manager's. `order_id` is `orders.id`, not the exchange's order id."""

positions = Table(
    "positions",
    neighbours,
    Column("id", Uuid, primary_key=True, server_default=_NEW_ID),
    Column("asset", String(20), nullable=False),
    Column("mode", String(20), nullable=False, server_default="one-way"),
    Column("size", _DECIMAL, nullable=False),
    Column("average_entry_price", _DECIMAL),
    Column("current_price", _DECIMAL),
    Column("unrealized_pnl", _DECIMAL),
    Column("realized_pnl", _DECIMAL),
    Column("version", Integer, nullable=False, server_default=text("1")),
    Column("last_updated", _NAIVE_UTC, nullable=False, server_default=_NOW),
    Column("closed_at", _NAIVE_UTC),
    Column("created_at", _NAIVE_UTC, nullable=False, server_default=_NOW),
    UniqueConstraint("asset", "mode"),
    info=_READ_ONLY,
)
"""Position Manager's. `size` is signed base currency; a closed position stays as a row of size 0."""

account_balances = Table(
    "account_balances",
    neighbours,
    Column("id", Uuid, primary_key=True, server_default=_NEW_ID),
    Column("coin", String(10), nullable=False),
    Column("wallet_balance", _DECIMAL, nullable=False),
    Column("available_balance", _DECIMAL, nullable=False),
    Column("frozen", _DECIMAL, nullable=False, server_default=_ZERO),
    Column("event_timestamp", _NAIVE_UTC, nullable=False),
    Column("received_at", _NAIVE_UTC, nullable=False, server_default=_NOW),
    Column("trace_id", String(100)),
    Index("idx_account_balances_coin_received_at", "coin", text("received_at DESC")),
    info=_READ_ONLY,
)
"""ws-gateway's, append-only: the newest `received_at` per coin holds."""

account_margin_balances = Table(
    "account_margin_balances",
    neighbours,
    Column("id", Uuid, primary_key=True, server_default=_NEW_ID),
    Column("account_type", String(20), nullable=False),
    Column("total_equity", _DECIMAL, nullable=False),
    Column("total_wallet_balance", _DECIMAL, nullable=False),
    Column("total_margin_balance", _DECIMAL, nullable=False),
    Column("total_available_balance", _DECIMAL, nullable=False),
    Column("base_currency", String(10), nullable=False),
    Column("event_timestamp", _NAIVE_UTC, nullable=False),
    Column("received_at", _NAIVE_UTC, nullable=False, server_default=_NOW),
    Column("trace_id", String(100)),
    info=_READ_ONLY,
)
"""ws-gateway's, append-only: a sell without a long needs `total_available_balance` of its notional."""

instrument_info = Table(
    "instrument_info",
    neighbours,
    Column("symbol", String(50), primary_key=True),
    Column("base_coin", String(20)),
    Column("quote_coin", String(20)),
    Column("lot_size", _DECIMAL, nullable=False),
    Column("min_order_qty", _DECIMAL, nullable=False),
    Column("min_order_value", _DECIMAL, nullable=False),
    Column("price_tick_size", _DECIMAL, nullable=False),
    info=_READ_ONLY,
)
"""Order Manager's: sizes in base currency, `min_order_value` in quote currency."""
