"""Let operators ask and act: dead letters they can settle, what they did, and lists that stay quick.

Nothing that a reader of the platform's tables would notice: two new tables, two columns and indexes.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_INDEXES: dict[str, tuple[str, list[Any]]] = {
    "idx_trading_signals_strategy_timestamp": (
        "trading_signals",
        ["strategy_id", sa.text('"timestamp" DESC')],
    ),
    "idx_trading_signals_asset_timestamp": ("trading_signals", ["asset", sa.text('"timestamp" DESC')]),
    "idx_execution_events_strategy_executed_at": (
        "execution_events",
        ["strategy_id", sa.text("executed_at DESC")],
    ),
    "idx_execution_events_asset_executed_at": ("execution_events", ["asset", sa.text("executed_at DESC")]),
    "idx_model_versions_strategy_trained_at": ("model_versions", ["strategy_id", sa.text("trained_at DESC")]),
    "idx_model_versions_created_at": ("model_versions", [sa.text("created_at DESC")]),
    "idx_model_versions_number": (
        "model_versions",
        [sa.text("(string_to_array(substr(version, 2), '.')::numeric[])")],
    ),
    "idx_model_versions_counted": ("model_versions", ["strategy_id", "model_type", "is_active"]),
    "idx_model_quality_metrics_of_version": (
        "model_quality_metrics",
        ["model_version_id", sa.text("(metadata ->> 'dataset_split')"), "evaluated_at"],
    ),
    "position_lifecycles_symbol_idx": ("position_lifecycles", ["symbol", sa.text("opened_at DESC")]),
    "position_lifecycles_strategy_idx": ("position_lifecycles", ["strategy_id", sa.text("opened_at DESC")]),
    "training_runs_updated_at_idx": ("training_runs", [sa.text("updated_at DESC")]),
    "training_runs_state_idx": ("training_runs", ["state", sa.text("requested_at DESC")]),
    "training_runs_finished_at_idx": ("training_runs", ["strategy_id", sa.text("finished_at DESC")]),
    "trading_state_changes_scope_idx": ("trading_state_changes", ["scope", sa.text("change_id DESC")]),
    "activations_activated_at_idx": ("activations", [sa.text("activated_at DESC")]),
    "alerts_resolved_at_idx": ("alerts", ["resolved_at"]),
}

_SIGNALS_OF_A_KIND = {
    "idx_trading_signals_exits": "(metadata ->> 'rule_triggered') IS NOT NULL",
    "idx_trading_signals_warmup": "is_warmup",
}


def upgrade() -> None:
    op.create_table(
        "dead_letters",
        sa.Column("letter_id", sa.Uuid, primary_key=True),
        sa.Column("queue", sa.String(255), nullable=False),
        sa.Column("service", sa.String(100), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("headers", JSONB, nullable=False),
        sa.Column("content_type", sa.String(255)),
        sa.Column("message_id", sa.String(255)),
        sa.Column("trace_id", sa.String(100), nullable=False),
        sa.Column("failed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "collected_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.text("now()")
        ),
        sa.Column("state", sa.String(10), nullable=False, server_default="open"),
        sa.Column("settled_at", sa.DateTime(timezone=True)),
        sa.Column("settled_by", sa.String(100)),
        sa.Column("settled_reason", sa.Text),
        sa.CheckConstraint("state IN ('open', 'replayed', 'discarded')", name="dead_letters_state_check"),
    )
    op.create_index("dead_letters_failed_at_idx", "dead_letters", [sa.text("failed_at DESC")])
    op.create_index("dead_letters_state_idx", "dead_letters", ["state", sa.text("failed_at DESC")])
    op.create_index(
        "dead_letters_queue_idx",
        "dead_letters",
        ["queue", sa.text("failed_at DESC")],
        postgresql_include=["state"],
    )
    op.create_table(
        "operator_actions",
        sa.Column("action_id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("acted_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.text("now()")),
        sa.Column("actor", sa.String(100), nullable=False),
        sa.Column("action", sa.String(50), nullable=False),
        sa.Column("subject", sa.String(150), nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("details", JSONB),
        sa.Column("trace_id", sa.String(100), nullable=False),
    )
    op.create_index("operator_actions_acted_at_idx", "operator_actions", [sa.text("acted_at DESC")])
    for column in ("actor", "action", "subject"):
        name = f"operator_actions_{column}_idx"
        op.create_index(name, "operator_actions", [column, sa.text("action_id DESC")])
    op.add_column("training_runs", sa.Column("idempotency_key", sa.String(100)))
    op.add_column(
        "training_runs",
        sa.Column("dataset_only", sa.Boolean, nullable=False, server_default=sa.text("false")),
    )
    op.create_index(
        "training_runs_idempotency_key_idx",
        "training_runs",
        ["idempotency_key"],
        unique=True,
        postgresql_where=sa.text("idempotency_key IS NOT NULL"),
    )
    for name, (table, columns) in _INDEXES.items():
        op.create_index(name, table, columns)
    for name, condition in _SIGNALS_OF_A_KIND.items():
        op.create_index(
            name, "trading_signals", [sa.text('"timestamp" DESC')], postgresql_where=sa.text(condition)
        )


def downgrade() -> None:
    for name in _SIGNALS_OF_A_KIND:
        op.drop_index(name, "trading_signals")
    for name, (table, _) in _INDEXES.items():
        op.drop_index(name, table)
    op.drop_index("training_runs_idempotency_key_idx", "training_runs")
    op.drop_column("training_runs", "dataset_only")
    op.drop_column("training_runs", "idempotency_key")
    op.drop_table("operator_actions")
    op.drop_table("dead_letters")
