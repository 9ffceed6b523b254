"""Ledger signals before they are sent, and share what all replicas must agree on.

A reader notices `trading_signals.amount_quote`: the amount in quote currency, null on older rows. The new
tables hold the outbox, fences and limits of the signals, the trading state, and why signals were skipped.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("trading_signals", sa.Column("amount_quote", sa.Numeric(20, 8)))
    op.create_table(
        "signal_outbox",
        sa.Column("signal_id", sa.Uuid, primary_key=True),
        sa.Column("kind", sa.String(10), nullable=False),
        sa.Column("strategy_id", sa.String(100), nullable=False),
        sa.Column("symbol", sa.String(50), nullable=False),
        sa.Column("side", sa.String(4), nullable=False),
        sa.Column("amount_quote", sa.Numeric(20, 8), nullable=False),
        sa.Column("payload", sa.Text, nullable=False),
        sa.Column("trace_id", sa.String(100), nullable=False),
        sa.Column("feature_timestamp", sa.DateTime(timezone=True)),
        _moment("valid_until"),
        sa.Column("state", sa.String(10), nullable=False, server_default="pending"),
        sa.Column("reason", sa.Text),
        sa.Column("owner", sa.String(100), nullable=False),
        _moment("lease_until"),
        sa.Column("attempts", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.text("now()")),
        sa.Column("published_at", sa.DateTime(timezone=True)),
        sa.CheckConstraint("kind IN ('entry', 'exit')", name="signal_outbox_kind_check"),
        sa.CheckConstraint("side IN ('buy', 'sell')", name="signal_outbox_side_check"),
        sa.CheckConstraint(
            "amount_quote > 0 AND amount_quote <> 'NaN'", name="signal_outbox_amount_quote_check"
        ),
        sa.CheckConstraint("state IN ('pending', 'published', 'expired')", name="signal_outbox_state_check"),
    )
    op.create_index(
        "signal_outbox_pending_idx",
        "signal_outbox",
        ["lease_until"],
        postgresql_where=sa.text("state = 'pending'"),
    )
    op.create_index("signal_outbox_symbol_idx", "signal_outbox", ["symbol", sa.text("created_at DESC")])
    op.create_index(
        "signal_outbox_symbol_kind_idx", "signal_outbox", ["symbol", "kind", sa.text("created_at DESC")]
    )
    op.create_index("signal_outbox_created_at_idx", "signal_outbox", ["created_at"])
    op.create_table(
        "emission_fences",
        sa.Column("strategy_id", sa.String(100), primary_key=True),
        sa.Column("symbol", sa.String(50), primary_key=True),
        _moment("newest_feature_timestamp"),
        sa.Column("signal_id", sa.Uuid, nullable=False),
        _moment("updated_at"),
    )
    op.create_table(
        "rate_limits",
        sa.Column("scope", sa.String(50), primary_key=True),
        sa.Column("tokens", sa.Double, nullable=False),
        _moment("refilled_at"),
    )
    op.create_table(
        "warmup_slots",
        sa.Column("slot", sa.DateTime(timezone=True), primary_key=True),
        sa.Column("strategy_id", sa.String(100), nullable=False),
        sa.Column("symbol", sa.String(50), nullable=False),
        sa.Column("signal_id", sa.Uuid, nullable=False),
        _moment("claimed_at"),
    )
    op.create_table(
        "trading_states",
        sa.Column("scope", sa.String(120), primary_key=True),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("actor", sa.String(100), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        _moment("changed_at"),
        sa.CheckConstraint("scope = 'fleet' OR scope LIKE 'strategy:_%'", name="trading_states_scope_check"),
        sa.CheckConstraint("state IN ('ACTIVE', 'REDUCING', 'HALTED')", name="trading_states_state_check"),
    )
    op.create_table(
        "skip_counts",
        sa.Column("minute", sa.DateTime(timezone=True), primary_key=True),
        sa.Column("strategy_id", sa.String(100), primary_key=True),
        sa.Column("symbol", sa.String(50), primary_key=True),
        sa.Column("reason", sa.String(50), primary_key=True),
        sa.Column("skips", sa.BigInteger, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("skip_counts")
    op.drop_table("trading_states")
    op.drop_table("warmup_slots")
    op.drop_table("rate_limits")
    op.drop_table("emission_fences")
    op.drop_table("signal_outbox")
    op.drop_column("trading_signals", "amount_quote")


def _moment(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=False)
