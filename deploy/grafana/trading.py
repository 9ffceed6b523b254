"""What the fleet decides: signals, skips, exits."""

from deploy.grafana.panels import Dashboard, figure, measured, over_time, table

SIGNALS = Dashboard(
    uid="flotilla-signals",
    title="Flotilla: signals",
    meaning="What was sent, how fast, and what it came to.",
    panels=[
        over_time(
            "Signals",
            "Published signals by side; warm-up apart from models.",
            """
SELECT $__timeGroup("timestamp", $__interval) AS "time",
       side || CASE WHEN is_warmup THEN ' (warm-up)' ELSE '' END AS metric,
       count(*) AS signals
FROM trading_signals
WHERE $__timeFilter("timestamp") AND strategy_id IN ($strategy)
GROUP BY 1, 2 ORDER BY 1
""",
        ),
        over_time(
            "Amounts",
            "Quote currency sent, by strategy.",
            """
SELECT $__timeGroup("timestamp", $__interval) AS "time", strategy_id AS metric, sum(amount_quote) AS amount
FROM trading_signals
WHERE $__timeFilter("timestamp") AND strategy_id IN ($strategy) AND amount_quote IS NOT NULL
GROUP BY 1, 2 ORDER BY 1
""",
        ),
        over_time(
            "Intents by fate",
            "What became of what was to be sent; `expired` never reached the Order Manager.",
            """
SELECT $__timeGroup(created_at, $__interval) AS "time", kind || ' ' || state AS metric, count(*) AS intents
FROM signal_outbox
WHERE $__timeFilter(created_at) AND strategy_id IN ($strategy)
GROUP BY 1, 2 ORDER BY 1
""",
        ),
        over_time(
            "Realized result",
            "Quote currency after fees, by strategy; fills that only opened are none yet.",
            """
SELECT $__timeGroup(executed_at, $__interval) AS "time", strategy_id AS metric,
       sum((performance ->> 'realized_pnl')::numeric) AS realized
FROM execution_events
WHERE $__timeFilter(executed_at) AND strategy_id IN ($strategy) AND performance ->> 'realized_pnl' IS NOT NULL
GROUP BY 1, 2 ORDER BY 1
""",
        ),
        measured(
            "From vector to publish",
            "Half, 95 % and 99 % of the signals took no longer.",
            {
                f"{share:.0%}": f"histogram_quantile({share}, sum by (le) (rate("
                'flotilla_signal_processing_delay_seconds_bucket{strategy_id=~"$strategy"}[$__rate_interval])))'
                for share in (0.5, 0.95, 0.99)
            },
            unit="s",
        ),
        measured(
            "Age of the newest decision",
            "How long a strategy has decided nothing, neither signal nor skip.",
            {
                "{{strategy_id}}": "time() - max by (strategy_id) "
                '(flotilla_decision_timestamp_seconds{strategy_id=~"$strategy"})'
            },
            unit="s",
        ),
        table(
            "Newest signals",
            "The newest 50, with what decided.",
            """
SELECT "timestamp" AS "time", strategy_id, asset AS symbol, side, amount_quote, price, confidence,
       coalesce(model_version, 'warm-up') AS by, metadata ->> 'rule_triggered' AS exit_rule,
       metadata ->> 'reasoning' AS reasoning
FROM trading_signals
WHERE $__timeFilter("timestamp") AND strategy_id IN ($strategy)
ORDER BY "timestamp" DESC LIMIT 50
""",
        ),
    ],
)

SKIPS = Dashboard(
    uid="flotilla-skips",
    title="Flotilla: skips",
    meaning="Why there was no signal.",
    panels=[
        over_time(
            "Skips by reason",
            "Decisions that gave no signal, of all replicas.",
            """
SELECT $__timeGroup(minute, $__interval) AS "time", reason AS metric, sum(skips) AS skips
FROM skip_counts
WHERE $__timeFilter(minute) AND strategy_id IN ($strategy)
GROUP BY 1, 2 ORDER BY 1
""",
            width=16,
        ),
        table(
            "Most frequent",
            "Reasons in the time shown, and how many of all skips they are.",
            """
SELECT reason, sum(skips) AS skips, round(100 * sum(skips) / sum(sum(skips)) OVER (), 1) AS percent
FROM skip_counts
WHERE $__timeFilter(minute) AND strategy_id IN ($strategy)
GROUP BY reason ORDER BY skips DESC
""",
            width=8,
        ),
        table(
            "Why there is no trade now",
            "The newest decision of each strategy and symbol, with the figures of the gate that decided.",
            """
SELECT strategy_id, symbol, outcome, reason, coalesce(version, 'warm-up') AS by, decided_at,
       round(extract(epoch FROM now() - decided_at)) AS age_seconds, facts::text AS facts
FROM latest_outcomes
WHERE strategy_id IN ($strategy)
ORDER BY strategy_id, symbol
""",
        ),
        measured(
            "Vectors and decisions",
            "Feature vectors that came, and what became of them, a second.",
            {
                "vectors": "sum(rate(flotilla_vectors_total[$__rate_interval]))",
                "skips": 'sum(rate(flotilla_skips_total{strategy_id=~"$strategy"}[$__rate_interval]))',
                "signals {{fate}}": "sum by (fate) "
                '(rate(flotilla_signals_total{strategy_id=~"$strategy"}[$__rate_interval]))',
            },
            unit="ops",
        ),
        measured(
            "Silent streams",
            "Symbols that REST stands in for, and entries of the last hour refused for want of balance.",
            {
                "silent streams": "max(flotilla_streams_silent)",
                "refused entries": "max(flotilla_entries_refused_for_balance)",
            },
        ),
    ],
)

EXITS = Dashboard(
    uid="flotilla-exits",
    title="Flotilla: exits and coverage",
    meaning="What is held, whether a rule watches it, and how exits went.",
    panels=[
        figure("Watched positions", "Open positions that rules watch.", "max(flotilla_exit_open_positions)"),
        figure("Blind", "Of these without a usable price.", "max(flotilla_exit_blind_positions)"),
        figure("Refused", "Of these with exits refused in a row.", "max(flotilla_exit_refused_positions)"),
        figure("Without database", "1 while only stop losses run.", "max(flotilla_exit_database_down)"),
        measured(
            "Coverage",
            "How long ago a rule looked at each position; above 30 s nobody watches it.",
            {"{{symbol}}": "max by (symbol) (flotilla_exit_coverage_seconds)"},
            unit="s",
        ),
        measured(
            "Unanswered exits",
            "How long a rule's exit has waited for its fill.",
            {"{{rule}}": "max by (rule) (flotilla_exit_unanswered_seconds)"},
            unit="s",
        ),
        measured(
            "From price to exit",
            "99 % of the prices were decided on, and of the exits confirmed, within this time.",
            {
                "decided": "histogram_quantile(0.99, sum by (le) "
                "(rate(flotilla_exit_evaluation_seconds_bucket[$__rate_interval])))",
                "confirmed": "histogram_quantile(0.99, sum by (le) "
                "(rate(flotilla_exit_confirm_seconds_bucket[$__rate_interval])))",
            },
            unit="s",
        ),
        over_time(
            "Exits by rule",
            "Exit signals that were published.",
            """
SELECT $__timeGroup("timestamp", $__interval) AS "time", metadata ->> 'rule_triggered' AS metric,
       count(*) AS exits
FROM trading_signals
WHERE $__timeFilter("timestamp") AND strategy_id IN ($strategy) AND metadata ? 'rule_triggered'
GROUP BY 1, 2 ORDER BY 1
""",
        ),
        table(
            "Positions",
            "What is open now: its stop, how long ago it was looked at, and what is being done.",
            """
SELECT symbol, strategy_id, side, size, entry_price, last_price, stop_price, peak_price, opened_at,
       round(extract(epoch FROM now() - last_evaluated_at)) AS evaluated_seconds_ago,
       latched_rule, refusals, close_reason
FROM position_lifecycles
WHERE closed_at IS NULL AND strategy_id IN ($strategy)
ORDER BY opened_at DESC
""",
        ),
        table(
            "Results by rule",
            "What exits of each rule realized in the time shown, quote currency after fees.",
            """
SELECT s.metadata ->> 'rule_triggered' AS rule, count(DISTINCT s.signal_id) AS exits,
       sum((e.performance ->> 'realized_pnl')::numeric) AS realized
FROM execution_events e JOIN trading_signals s USING (signal_id)
WHERE $__timeFilter(e.executed_at) AND e.strategy_id IN ($strategy) AND s.metadata ? 'rule_triggered'
GROUP BY 1 ORDER BY realized DESC NULLS LAST
""",
            width=12,
        ),
        table(
            "Updates that could not be used",
            "What the Position Manager sent and nobody could read.",
            """
SELECT seen_at AS "time", symbol, reason FROM failed_position_updates
WHERE $__timeFilter(seen_at)
ORDER BY seen_at DESC LIMIT 50
""",
            width=12,
        ),
    ],
)
