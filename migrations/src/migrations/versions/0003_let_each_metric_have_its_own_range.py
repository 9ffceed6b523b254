"""Let each classification metric have its own range: a log loss of 1.7 or an MCC of -0.2 is no error.

A reader may now find values outside 0..1 where `metric_type` is classification; accuracy and its kind stay
within. The platform's check, whatever its name, is remembered in the comment of ours, and the downgrade
restores it word for word; over rows that it would refuse it comes back NOT VALID, which keeps them.
"""

import re

import msgspec
import sqlalchemy as sa
from alembic import op
from alembic.util import CommandError

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

BY_NAME = "chk_metric_value_by_name"
BY_NAME_CONDITION = """metric_type <> 'classification' OR CASE
    WHEN metric_name IN (
        'accuracy', 'balanced_accuracy', 'baseline_accuracy', 'precision', 'recall', 'f1', 'f1_score',
        'roc_auc', 'pr_auc', 'brier', 'brier_score', 'ece'
    ) THEN metric_value >= 0 AND metric_value <= 1
    WHEN metric_name = 'mcc' THEN metric_value >= -1 AND metric_value <= 1
    WHEN metric_name = 'log_loss' THEN metric_value >= 0 AND metric_value <> 'NaN'
    ELSE metric_value <> 'NaN'
END"""

# a range of the value that depends on the type: a check over both columns
RANGE_CHECKS = sa.text("""
    SELECT conname, pg_get_expr(conbin, conrelid), obj_description(oid, 'pg_constraint')
    FROM pg_constraint
    WHERE conrelid = 'model_quality_metrics'::regclass AND contype = 'c' AND conkey @> (
        SELECT array_agg(attnum) FROM pg_attribute
        WHERE attrelid = 'model_quality_metrics'::regclass AND attname IN ('metric_type', 'metric_value')
    )
    ORDER BY conname
""")

# PostgreSQL prints `a IN ('b')` over a varchar so, and would print it differently once read back
PRINTED_IN = re.compile(
    r"\((?P<column>\w+)\)::text = ANY \(\(ARRAY\[(?P<words>('\w+'::character varying(, )?)+)\]\)::text\[\]\)"
)


class Check(msgspec.Struct):
    """A check constraint, its condition as PostgreSQL prints it."""

    name: str
    condition: str
    comment: str | None


def upgrade() -> None:
    replaced = _range_checks()
    for check in replaced:
        _drop(check.name)
    _add(BY_NAME, BY_NAME_CONDITION)
    _comment(BY_NAME, msgspec.json.encode(replaced).decode())


def downgrade() -> None:
    remembered = next((check.comment for check in _range_checks() if check.name == BY_NAME), None)
    if remembered is None:
        raise CommandError(f"constraint {BY_NAME} or its comment is gone, and with it the platform's check")
    _drop(BY_NAME)
    for check in msgspec.json.decode(remembered, type=list[Check]):
        _add(check.name, PRINTED_IN.sub(_written_in, check.condition))
        if check.comment:
            _comment(check.name, check.comment)


def _written_in(printed: re.Match[str]) -> str:
    words = printed["words"].replace("::character varying", "")
    return f"{printed['column']} IN ({words})"


def _range_checks() -> list[Check]:
    return [Check(*row) for row in op.get_bind().execute(RANGE_CHECKS)]


def _drop(name: str) -> None:
    _run(f"ALTER TABLE model_quality_metrics DROP CONSTRAINT {_identifier(name)}")


def _add(name: str, condition: str) -> None:
    _run(
        f"ALTER TABLE model_quality_metrics ADD CONSTRAINT {_identifier(name)} CHECK ({condition}) NOT VALID"
    )
    refused = f"SELECT EXISTS (SELECT FROM model_quality_metrics WHERE NOT ({condition}))"
    if not op.get_bind().exec_driver_sql(refused).scalar():
        _run(f"ALTER TABLE model_quality_metrics VALIDATE CONSTRAINT {_identifier(name)}")


def _comment(name: str, comment: str) -> None:
    literal = op.get_bind().scalar(sa.select(sa.func.quote_literal(comment)))
    _run(f"COMMENT ON CONSTRAINT {_identifier(name)} ON model_quality_metrics IS {literal}")


def _identifier(name: str) -> str:
    return op.get_bind().dialect.identifier_preparer.quote(name)


def _run(statement: str) -> None:
    op.get_bind().exec_driver_sql(statement)
