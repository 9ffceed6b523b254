"""Let each service write its own tables: a role of PostgreSQL for each, granted what its statements need.

Nothing changes for whoever connects as before. A login that is to have these rights, and no more, is made a
member of one of the four roles (docs/security.md). A role is made where the migrating one may make it and it
is not there; where it may not, a notice says so, and the roles are made before this revision is run again.
Roles belong to the whole server and may serve other databases: going back takes rights, no role.
"""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

ROLES = ("flotilla_inference", "flotilla_trainer", "flotilla_exit_strategy", "flotilla_api")

# Whoever reads a decision reads whatever led to it: every table, of the neighbours those that are there.
_OURS = (
    "trading_signals",
    "model_versions",
    "execution_events",
    "model_quality_metrics",
    "position_states",
    "signal_outbox",
    "emission_fences",
    "rate_limits",
    "warmup_slots",
    "trading_states",
    "trading_state_changes",
    "alerts",
    "skip_counts",
    "latest_outcomes",
    "served_versions",
    "mode_changes",
    "minute_bars",
    "live_sums",
    "activations",
    "training_runs",
    "position_lifecycles",
    "failed_position_updates",
    "booked_orders",
    "fill_books",
    "invalid_executions",
    "dead_letters",
    "operator_actions",
    "flotilla_alembic_version",
)
_NEIGHBOURS = (
    "orders",
    "signal_order_relationships",
    "positions",
    "account_balances",
    "account_margin_balances",
    "instrument_info",
)

# What is only ever added to - operator_actions, trading_state_changes, activations - has nobody's UPDATE.
_FIGURES = "metric_value, evaluated_at, evaluation_dataset_size, metadata"
_WRITES = {
    "flotilla_inference": {
        "INSERT": "trading_state_changes, mode_changes",
        f"INSERT, UPDATE ({_FIGURES})": "model_quality_metrics",
        "INSERT, UPDATE": "emission_fences, rate_limits, trading_states, alerts",
        "INSERT, UPDATE (metadata)": "trading_signals",
        "INSERT, DELETE": "warmup_slots",
        "UPDATE": "position_lifecycles",
        "INSERT, UPDATE, DELETE": (
            "signal_outbox, skip_counts, latest_outcomes, minute_bars, live_sums, served_versions"
        ),
        "DELETE": "dead_letters",
    },
    "flotilla_trainer": {
        "INSERT": "model_quality_metrics, activations, execution_events",
        "INSERT, UPDATE": (
            "model_versions, training_runs, alerts, booked_orders, fill_books, invalid_executions"
        ),
    },
    "flotilla_exit_strategy": {
        "INSERT": "trading_signals",
        "INSERT, UPDATE": "signal_outbox, position_lifecycles, alerts, failed_position_updates",
    },
    "flotilla_api": {
        "INSERT": "activations, trading_state_changes, operator_actions",
        "INSERT, UPDATE": "trading_states, training_runs, dead_letters",
        "UPDATE (is_active, updated_at)": "model_versions",
        "UPDATE (close_requested_at, close_actor, close_reason)": "position_lifecycles",
    },
}


def upgrade() -> None:
    for role in ROLES:
        op.execute(_made(role))
        _grant(role, "USAGE", "SCHEMA", "public")
        for table in (*_OURS, *_NEIGHBOURS):
            _grant(role, "SELECT", "TABLE", table)
        for rights, listed in _WRITES[role].items():
            for table in listed.split(", "):
                _grant(role, rights, "TABLE", table)
    _grant("flotilla_trainer", "USAGE", "SEQUENCE", "model_version_numbers")


def downgrade() -> None:
    for role in ROLES:
        for table in (*_OURS, *_NEIGHBOURS):
            op.execute(_if_there(role, table, f"REVOKE ALL ON TABLE {table} FROM {role}"))
    sequence = "model_version_numbers"
    op.execute(
        _if_there("flotilla_trainer", sequence, f"REVOKE ALL ON SEQUENCE {sequence} FROM flotilla_trainer")
    )
    for role in ROLES:
        op.execute(_if_there(role, "trading_signals", f"REVOKE ALL ON SCHEMA public FROM {role}"))


def _grant(role: str, rights: str, kind: str, name: str) -> None:
    present = "trading_signals" if kind == "SCHEMA" else name
    op.execute(_if_there(role, present, f"GRANT {rights} ON {kind} {name} TO {role}"))


# Several databases of one server may be migrated at once: another may make the role between look and make.
def _made(role: str) -> str:
    return f"""
        DO $$ BEGIN
            IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}') THEN
                CREATE ROLE {role} NOLOGIN;
            END IF;
        EXCEPTION
            WHEN duplicate_object OR unique_violation THEN NULL;
            WHEN insufficient_privilege THEN
                RAISE NOTICE 'role {role} is not there and may not be made: see docs/security.md';
        END $$
    """


# A neighbour's table may be missing, or be somebody else's to grant.
def _if_there(role: str, relation: str, statement: str) -> str:
    return f"""
        DO $$ BEGIN
            IF to_regclass('{relation}') IS NOT NULL
                AND EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}')
            THEN
                {statement};
            END IF;
        EXCEPTION
            WHEN insufficient_privilege THEN
                RAISE NOTICE 'not granted, ask the owner of {relation}: {statement}';
        END $$
    """
