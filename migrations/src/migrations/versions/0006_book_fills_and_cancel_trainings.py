"""Let trainings be cancelled and counted, and book what orders filled.

A strategy has at most one training that is running. Nothing that a reader of the platform's tables would
notice.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

NEW_COLUMNS = ("recoveries", "cancel_reason", "cancel_actor", "cancel_requested_at", "requested_by")


def upgrade() -> None:
    for column in (
        sa.Column("requested_by", sa.String(100), nullable=False, server_default="trainer"),
        sa.Column("cancel_requested_at", sa.DateTime(timezone=True)),
        sa.Column("cancel_actor", sa.String(100)),
        sa.Column("cancel_reason", sa.Text),
        sa.Column("recoveries", sa.Integer, nullable=False, server_default=sa.text("0")),
    ):
        op.add_column("training_runs", column)
    op.create_index(
        "training_runs_running_idx",
        "training_runs",
        ["strategy_id"],
        unique=True,
        postgresql_where=sa.text("state = 'running'"),
    )
    op.create_table(
        "booked_orders",
        sa.Column("order_id", sa.String(100), primary_key=True),
        sa.Column("signal_id", sa.Uuid, nullable=False),
        sa.Column("filled_quantity", sa.Numeric(20, 8), nullable=False),
        sa.Column("filled_value", sa.Numeric(30, 12), nullable=False),
        sa.Column("fees", sa.Numeric(20, 8), nullable=False),
        sa.Column("order_updated_at", sa.DateTime(timezone=True), nullable=False),
        _now("booked_at"),
    )
    op.create_index("booked_orders_order_updated_at_idx", "booked_orders", ["order_updated_at"])
    op.create_table(
        "fill_books",
        sa.Column("strategy_id", sa.String(100), primary_key=True),
        sa.Column("symbol", sa.String(50), primary_key=True),
        sa.Column("lots", JSONB, nullable=False),
        sa.Column("fills", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        _now("updated_at"),
    )
    op.create_table(
        "invalid_executions",
        sa.Column("execution_id", sa.Uuid, primary_key=True),
        sa.Column("source", sa.String(10), nullable=False),
        sa.Column("order_id", sa.String(100)),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("body", JSONB, nullable=False),
        _now("seen_at"),
        sa.CheckConstraint("source IN ('orders', 'queue')", name="invalid_executions_source_check"),
    )
    op.create_index("invalid_executions_seen_at_idx", "invalid_executions", [sa.text("seen_at DESC")])


def downgrade() -> None:
    op.drop_table("invalid_executions")
    op.drop_table("fill_books")
    op.drop_table("booked_orders")
    op.drop_index("training_runs_running_idx", "training_runs")
    for name in NEW_COLUMNS:
        op.drop_column("training_runs", name)


def _now(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=False, server_default=sa.text("now()"))
