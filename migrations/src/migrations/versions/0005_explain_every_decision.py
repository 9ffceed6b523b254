"""Explain every decision: outcomes, served versions, modes, alerts, bars, live quality, changes of state.

Nothing that a reader of the platform's tables would notice. Trading states get the scope `exits`.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

OLD_SCOPES = "scope = 'fleet' OR scope LIKE 'strategy:_%'"
NEW_SCOPES = "scope IN ('fleet', 'exits') OR scope LIKE 'strategy:_%'"
NEW_TABLES = (
    "live_sums",
    "minute_bars",
    "mode_changes",
    "served_versions",
    "latest_outcomes",
    "alerts",
    "trading_state_changes",
)


def upgrade() -> None:
    op.drop_constraint("trading_states_scope_check", "trading_states")
    op.create_check_constraint("trading_states_scope_check", "trading_states", NEW_SCOPES)
    _create_what_operators_look_at()
    _create_what_replicas_say()
    _create_what_was_seen()


def downgrade() -> None:
    for table in NEW_TABLES:
        op.drop_table(table)
    op.execute("DELETE FROM trading_states WHERE scope = 'exits'")
    op.drop_constraint("trading_states_scope_check", "trading_states")
    op.create_check_constraint("trading_states_scope_check", "trading_states", OLD_SCOPES)


def _create_what_operators_look_at() -> None:
    op.create_table(
        "trading_state_changes",
        sa.Column("change_id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("scope", sa.String(120), nullable=False),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("actor", sa.String(100), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("figures", JSONB),
        _now("changed_at"),
    )
    op.create_index(
        "trading_state_changes_changed_at_idx", "trading_state_changes", [sa.text("changed_at DESC")]
    )
    op.create_table(
        "alerts",
        sa.Column("alert_id", sa.Uuid, primary_key=True),
        sa.Column("kind", sa.String(50), nullable=False),
        sa.Column("scope", sa.String(150), nullable=False),
        sa.Column("severity", sa.String(10), nullable=False),
        sa.Column("sentence", sa.Text, nullable=False),
        sa.Column("figures", JSONB),
        _now("raised_at"),
        _now("last_seen_at"),
        sa.Column("sightings", sa.Integer, nullable=False, server_default=sa.text("1")),
        _moment("resolved_at"),
        sa.CheckConstraint("severity IN ('warning', 'critical')", name="alerts_severity_check"),
    )
    op.create_index(
        "alerts_open_idx",
        "alerts",
        ["kind", "scope"],
        unique=True,
        postgresql_where=sa.text("resolved_at IS NULL"),
    )
    op.create_index("alerts_raised_at_idx", "alerts", [sa.text("raised_at DESC")])


def _create_what_replicas_say() -> None:
    op.create_table(
        "latest_outcomes",
        sa.Column("strategy_id", sa.String(100), primary_key=True),
        sa.Column("symbol", sa.String(50), primary_key=True),
        _moment("feature_timestamp", nullable=False),
        _moment("decided_at", nullable=False),
        sa.Column("outcome", sa.String(6), nullable=False),
        sa.Column("reason", sa.String(50)),
        sa.Column("facts", JSONB),
        sa.Column("signal_id", sa.Uuid),
        sa.Column("version", sa.String(50)),
        sa.Column("replica", sa.String(150), nullable=False),
        sa.CheckConstraint("outcome IN ('signal', 'skip')", name="latest_outcomes_outcome_check"),
    )
    op.create_table(
        "served_versions",
        sa.Column("replica", sa.String(150), primary_key=True),
        sa.Column("strategy_id", sa.String(100), primary_key=True),
        sa.Column("state", sa.String(12), nullable=False),
        sa.Column("version", sa.String(50)),
        sa.Column("sha256", sa.CHAR(64)),
        sa.Column("epoch", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        _moment("since", nullable=False),
        sa.Column("problem", sa.Text),
        _now("heart_beat_at"),
        sa.CheckConstraint(
            "state IN ('warm_up', 'serving', 'lagging', 'unavailable')", name="served_versions_state_check"
        ),
    )
    op.create_index("served_versions_heart_beat_at_idx", "served_versions", ["heart_beat_at"])
    op.create_table(
        "mode_changes",
        sa.Column("strategy_id", sa.String(100), primary_key=True),
        sa.Column("epoch", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("mode", sa.String(10), nullable=False),
        sa.Column("version", sa.String(50)),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("figures", JSONB, nullable=False),
        _now("changed_at"),
        sa.CheckConstraint("mode IN ('warm_up', 'model')", name="mode_changes_mode_check"),
    )


def _create_what_was_seen() -> None:
    op.create_table(
        "minute_bars",
        sa.Column("symbol", sa.String(50), primary_key=True),
        _moment("minute", nullable=False, primary_key=True),
        *(sa.Column(name, sa.Numeric(30, 12), nullable=False) for name in ("open", "high", "low", "close")),
        _moment("first_at", nullable=False),
        _moment("last_at", nullable=False),
        sa.Column("vectors", sa.Integer, nullable=False),
    )
    op.create_table(
        "live_sums",
        sa.Column("version", sa.String(50), primary_key=True),
        _moment("hour", nullable=False, primary_key=True),
        sa.Column("name", sa.String(50), primary_key=True),
        sa.Column("value", sa.Double, nullable=False),
    )


def _moment(name: str, *, nullable: bool = True, primary_key: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable, primary_key=primary_key)


def _now(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=False, server_default=sa.text("now()"))
