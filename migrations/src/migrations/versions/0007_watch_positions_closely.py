"""Watch positions closely: the stop that only tightens, every rule's figures, refusals, an operator's close.

Nothing that a reader of the platform's tables would notice.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def _columns() -> tuple[sa.Column[object], ...]:
    return (
        sa.Column("stop_price", sa.Numeric(30, 12)),
        sa.Column("best_pnl_pct", sa.Numeric(30, 12)),
        sa.Column("rules_version", sa.String(16)),
        sa.Column("verdicts", JSONB),
        sa.Column("price_source", sa.String(20)),
        sa.Column("refusals", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("last_exit_at", sa.DateTime(timezone=True)),
        sa.Column("close_requested_at", sa.DateTime(timezone=True)),
        sa.Column("close_actor", sa.String(100)),
        sa.Column("close_reason", sa.Text),
    )


def upgrade() -> None:
    for column in _columns():
        op.add_column("position_lifecycles", column)
    op.create_table(
        "failed_position_updates",
        sa.Column("update_id", sa.Uuid, primary_key=True, server_default=sa.text("gen_random_uuid()")),
        sa.Column("symbol", sa.String(50)),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("trace_id", sa.String(100), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.text("now()")),
    )
    op.create_index(
        "failed_position_updates_seen_at_idx", "failed_position_updates", [sa.text("seen_at DESC")]
    )


def downgrade() -> None:
    op.drop_table("failed_position_updates")
    for column in reversed(_columns()):
        op.drop_column("position_lifecycles", column.name)
