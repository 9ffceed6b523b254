"""A database as it is after years: rows by the million, made by PostgreSQL itself.

What the plan tests and the benchmark of the API ask their questions of. The proportions are those of a busy
platform: 20 strategies have versions, four of them trade, executions and signals reach back 60 days.
"""

import asyncpg
import msgspec

VERSIONS = 10_000
EXECUTIONS = 1_000_000
SIGNALS = 200_000
DAYS = 60
"""How far back executions and signals reach."""
STRATEGIES = ("momentum", "reversal", "breakout", "carry")
"""Those that trade."""
SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT", "ADAUSDT")
NEWEST = "v1"
"""A version with a year of live figures, by the hour; `seed` makes it the newest of its strategy."""


class Seeded(msgspec.Struct, frozen=True, kw_only=True):
    """How many rows there are."""

    versions: int
    executions: int
    signals: int


async def seed(
    database_url: str,
    *,
    factor: float = 1.0,
    versions: int = VERSIONS,
    executions: int = EXECUTIONS,
    signals: int = SIGNALS,
) -> Seeded:
    """The database holds `factor` times so many rows of each kind, with statistics as they become by use."""
    rows = Seeded(
        versions=round(versions * factor),
        executions=round(executions * factor),
        signals=round(signals * factor),
    )
    connection = await asyncpg.connect(database_url, server_settings={"timezone": "UTC"})
    try:
        await connection.execute("SET synchronous_commit = off")
        await connection.execute(_VERSIONS, rows.versions)
        await connection.execute(_ACTIVATIONS)
        await connection.execute(_METRICS)
        await connection.execute(_LIVE_METRICS, NEWEST)
        await connection.execute(_LIVE_SUMS)
        await connection.execute(_SIGNALS, rows.signals, *_traded())
        await connection.execute(_EXECUTIONS, rows.executions, *_traded())
        # Not ANALYZE alone: index-only scans ask the visibility map.
        await connection.execute("VACUUM (ANALYZE)")
    finally:
        await connection.close()
    return rows


def _traded() -> tuple[list[str], list[str], int]:
    return list(STRATEGIES), list(SYMBOLS), DAYS


# One an hour; the newest is the first, so that names do not sort as trainings do.
_VERSIONS = """
INSERT INTO model_versions (
    version, file_path, model_type, strategy_id, trained_at, created_at, updated_at,
    training_duration_seconds, training_dataset_size, training_config, sha256, run_id,
    verdict, verdict_sentence, evidence
)
SELECT
    'v' || n,
    '/models/v' || n,
    (ARRAY['xgboost', 'random_forest', 'logistic_regression', 'sgd_classifier'])[1 + n / 20 % 4],
    CASE WHEN n % 20 = 1 THEN 'momentum' ELSE 'strategy_' || n % 20 END,
    timezone('UTC', now()) - make_interval(hours => n),
    timezone('UTC', now()) - make_interval(hours => n),
    timezone('UTC', now()) - make_interval(hours => n),
    30 + n % 300,
    30000 + n % 9000,
    jsonb_build_object(
        'recipe', md5(n::text),
        'symbol', 'BTCUSDT',
        'horizon_s', 60.0,
        'seed', n,
        'rounds', 100 + n % 200,
        'dataset_id', gen_random_uuid(),
        'parameters', '{"max_depth": 4, "eta": 0.1, "subsample": 0.8, "class_weights": "none"}'::jsonb,
        'features', (SELECT jsonb_agg('feature_' || f) FROM generate_series(1, 40) f)
    ),
    repeat(md5(n::text), 2),
    gen_random_uuid(),
    (ARRAY['accepted', 'refused', 'insufficient_evidence', 'quarantined'])[1 + n % 4],
    'The lift over the baseline is 0.012, its interval 0.004 to 0.020.',
    jsonb_build_object(
        'policy', 'specification',
        'source', 'test',
        'rows_by_split', '{"train": 30000, "validation": 7000, "test": 1000}'::jsonb,
        'confusion', '{"test": [[100, 20, 30], [40, 500, 60], [30, 20, 200]]}'::jsonb,
        'notes', (SELECT jsonb_agg('note ' || md5((n * f)::text)) FROM generate_series(1, 30) f)
    )
FROM generate_series(1, $1::int) n
"""

_ACTIVATIONS = """
WITH latest AS (
    SELECT DISTINCT ON (strategy_id) strategy_id, version, sha256 FROM model_versions
    ORDER BY strategy_id, trained_at DESC
), activated AS (
    INSERT INTO activations (strategy_id, epoch, version, sha256, actor, reason)
    SELECT strategy_id, 1, version, sha256, 'trainer', 'better' FROM latest
    RETURNING version
)
UPDATE model_versions SET is_active = true FROM activated WHERE model_versions.version = activated.version
"""

_METRICS = """
INSERT INTO model_quality_metrics (
    model_version_id, metric_name, metric_value, metric_type, evaluated_at, evaluation_dataset_size, metadata
)
SELECT
    id, name, 0.3 + random() * 0.3,
    CASE WHEN name = 'expectancy' THEN 'trading_performance' ELSE 'classification' END,
    trained_at, 1000, jsonb_build_object('dataset_split', split)
FROM model_versions,
    unnest(
        ARRAY['accuracy', 'baseline_accuracy', 'log_loss', 'lift', 'lift_lower', 'lift_upper', 'expectancy']
    ) name,
    unnest(ARRAY['validation', 'test']) split
"""

_LIVE_METRICS = """
INSERT INTO model_quality_metrics (
    model_version_id, metric_name, metric_value, metric_type, evaluated_at, evaluation_dataset_size, metadata
)
SELECT
    id, name, 0.4 + random() * 0.2, 'classification', hour, 3000,
    jsonb_build_object('dataset_split', 'live', 'hour', hour)
FROM model_versions,
    unnest(ARRAY['accuracy', 'log_loss', 'brier', 'coverage']) name,
    generate_series(timezone('UTC', now()) - interval '365 days', timezone('UTC', now()), '1 hour') hour
WHERE version = $1
"""

# Of 30 versions, a month each.
_LIVE_SUMS = """
INSERT INTO live_sums (version, hour, name, value)
SELECT 'v' || n, date_trunc('hour', now()) - make_interval(hours => h), name, 100 + n
FROM generate_series(1, 30) n,
    generate_series(1, 720) h,
    unnest(ARRAY['predictions', 'scored', 'confusion:-1:-1', 'confusion:1:1', 'confusion:1:-1']) name
"""

# Three in ten are exits by rule, one in ten is the warm-up's.
_SIGNALS = """
INSERT INTO trading_signals (
    signal_id, strategy_id, asset, side, price, confidence, timestamp, created_at, model_version, is_warmup,
    market_data_snapshot, metadata, trace_id, amount_quote
)
SELECT
    md5('signal ' || n)::uuid,
    ($2::text[])[1 + n % cardinality($2::text[])],
    ($3::text[])[1 + n / 7 % cardinality($3::text[])],
    CASE WHEN n % 2 = 0 THEN 'buy' ELSE 'sell' END,
    100 + n % 50,
    0.5 + n % 40 / 100.0,
    at,
    at,
    CASE WHEN n % 10 > 0 THEN 'v' || 1 + n % 100 END,
    n % 10 = 0,
    '{"price": 100.5, "spread": 0.01, "volume_24h": 1000.0, "volatility": 0.002}',
    CASE
        WHEN n % 10 < 3 THEN '{"rule_triggered": "take_profit", "reasoning": "pnl above 3 %"}'::jsonb
        ELSE jsonb_build_object('gates', '{"age_s": 0.1, "confidence": 0.6}'::jsonb, 'threshold', 0.55)
    END,
    md5(n::text),
    200
FROM generate_series(1, $1::int) n,
    LATERAL (
        SELECT timezone('UTC', now()) - make_interval(secs => n * ($4::int * 86400.0 / greatest($1, 1))) AS at
    ) spread
"""

# Every second one closed something.
_EXECUTIONS = """
INSERT INTO execution_events (
    signal_id, strategy_id, asset, side, execution_price, execution_quantity, execution_fees, executed_at,
    signal_price, signal_timestamp, performance, created_at
)
SELECT
    md5('signal ' || n / 5)::uuid,
    ($2::text[])[1 + n % cardinality($2::text[])],
    ($3::text[])[1 + n / 7 % cardinality($3::text[])],
    CASE WHEN n % 2 = 0 THEN 'buy' ELSE 'sell' END,
    100 + n % 50,
    0.5,
    0.05,
    at,
    100 + n % 50,
    at,
    jsonb_build_object(
        'realized_pnl', CASE WHEN n / 4 % 2 = 0 THEN round((n % 1000 - 480) / 100.0, 4)::text END,
        'order_id', 'EX-' || n,
        'fees_quote', '0.05'
    ),
    at
FROM generate_series(1, $1::int) n,
    LATERAL (
        SELECT timezone('UTC', now()) - make_interval(secs => n * ($4::int * 86400.0 / greatest($1, 1))) AS at
    ) spread
"""
