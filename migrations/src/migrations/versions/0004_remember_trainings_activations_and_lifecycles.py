"""Remember trainings, activations and the lifecycles of positions.

A reader notices five columns at the end of `model_versions`: the hash of the artifact, the run that made it
and the verdict of the promotion policy; null on older rows, which no worker loads. Version numbers go on
above the highest one found.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

UNFINISHED = "state IN ('requested', 'building', 'ready', 'running')"
GO_ON_ABOVE = r"""
    SELECT setval('model_version_numbers', max(substring(version FROM '^v(\d{1,17})')::bigint))
    FROM model_versions HAVING count(*) > 0
"""


def upgrade() -> None:
    op.execute(sa.schema.CreateSequence(sa.Sequence("model_version_numbers")))
    op.execute(GO_ON_ABOVE)
    for column in (
        sa.Column("sha256", sa.CHAR(64)),
        sa.Column("run_id", sa.Uuid),
        sa.Column("verdict", sa.String(30)),
        sa.Column("verdict_sentence", sa.Text),
        sa.Column("evidence", JSONB),
    ):
        op.add_column("model_versions", column)
    op.create_check_constraint(
        "model_versions_verdict_check",
        "model_versions",
        "verdict IN ('accepted', 'refused', 'insufficient_evidence', 'quarantined')",
    )
    _create_activations()
    _create_training_runs()
    _create_position_lifecycles()


def downgrade() -> None:
    op.drop_table("position_lifecycles")
    op.drop_table("training_runs")
    op.drop_table("activations")
    op.drop_constraint("model_versions_verdict_check", "model_versions")
    for name in ("evidence", "verdict_sentence", "verdict", "run_id", "sha256"):
        op.drop_column("model_versions", name)
    op.execute(sa.schema.DropSequence(sa.Sequence("model_version_numbers")))


def _create_activations() -> None:
    op.create_table(
        "activations",
        sa.Column("strategy_id", sa.String(100), primary_key=True),
        sa.Column("epoch", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("version", sa.String(50)),
        sa.Column("sha256", sa.CHAR(64)),
        sa.Column("actor", sa.String(100), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        _now("activated_at"),
        sa.CheckConstraint("epoch > 0", name="activations_epoch_check"),
        sa.CheckConstraint("(version IS NULL) = (sha256 IS NULL)", name="activations_sha256_check"),
    )


def _create_training_runs() -> None:
    op.create_table(
        "training_runs",
        sa.Column("run_id", sa.Uuid, primary_key=True),
        sa.Column("strategy_id", sa.String(100), nullable=False),
        sa.Column("symbol", sa.String(50), nullable=False),
        sa.Column("trigger", sa.String(20), nullable=False),
        sa.Column("priority", sa.String(10), nullable=False),
        sa.Column("state", sa.String(12), nullable=False),
        _now("requested_at"),
        _now("updated_at"),
        _moment("started_at"),
        _moment("finished_at"),
        sa.Column("dataset_id", sa.Uuid),
        _moment("dataset_deadline"),
        sa.Column("owner", sa.String(100)),
        _moment("lease_until"),
        _counter("fence", sa.BigInteger()),
        _counter("attempts", sa.Integer()),
        sa.Column("reason", sa.Text),
        sa.Column("figures", JSONB),
        sa.Column("progress", JSONB),
        sa.Column("version", sa.String(50)),
        sa.Column("trace_id", sa.String(100), nullable=False),
        sa.CheckConstraint(
            "trigger IN ('bootstrap', 'manual', 'schedule', 'degradation')",
            name="training_runs_trigger_check",
        ),
        sa.CheckConstraint("priority IN ('CRITICAL', 'HIGH', 'NORMAL')", name="training_runs_priority_check"),
        sa.CheckConstraint(
            "state IN ('requested', 'building', 'ready', 'running', "
            "'succeeded', 'rejected', 'failed', 'cancelled')",
            name="training_runs_state_check",
        ),
    )
    op.create_index(
        "training_runs_unfinished_idx",
        "training_runs",
        ["strategy_id", "symbol"],
        unique=True,
        postgresql_where=sa.text(UNFINISHED),
    )
    op.create_index(
        "training_runs_strategy_idx", "training_runs", ["strategy_id", sa.text("requested_at DESC")]
    )
    op.create_index("training_runs_requested_at_idx", "training_runs", [sa.text("requested_at DESC")])


def _create_position_lifecycles() -> None:
    op.create_table(
        "position_lifecycles",
        sa.Column("lifecycle_id", sa.Uuid, primary_key=True),
        sa.Column("symbol", sa.String(50), nullable=False),
        sa.Column("side", sa.String(5), nullable=False),
        _moment("opened_at", nullable=False),
        sa.Column("strategy_id", sa.String(100), nullable=False),
        sa.Column("entry_price", sa.Numeric(30, 12), nullable=False),
        sa.Column("size", sa.Numeric(30, 12), nullable=False),
        sa.Column("peak_price", sa.Numeric(30, 12), nullable=False),
        sa.Column("armed", sa.Boolean, nullable=False, server_default=sa.text("false")),
        _counter("stage", sa.Integer()),
        _counter("generation", sa.Integer()),
        sa.Column("latched_rule", sa.String(30)),
        _moment("latched_at"),
        sa.Column("exit_signal_id", sa.Uuid),
        _moment("newest_event_at", nullable=False),
        sa.Column("last_price", sa.Numeric(30, 12)),
        _moment("last_evaluated_at"),
        _moment("closed_at"),
        _now("created_at"),
        sa.CheckConstraint("side IN ('long', 'short')", name="position_lifecycles_side_check"),
    )
    op.create_index(
        "position_lifecycles_open_idx",
        "position_lifecycles",
        ["symbol"],
        unique=True,
        postgresql_where=sa.text("closed_at IS NULL"),
    )
    op.create_index("position_lifecycles_opened_at_idx", "position_lifecycles", [sa.text("opened_at DESC")])


def _moment(name: str, *, nullable: bool = True) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def _now(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=False, server_default=sa.text("now()"))


def _counter(name: str, kind: sa.types.TypeEngine[int]) -> sa.Column[int]:
    return sa.Column(name, kind, nullable=False, server_default=sa.text("0"))
