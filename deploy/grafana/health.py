"""How the fleet itself is."""

from deploy.grafana.panels import Dashboard, figure, measured, over_time, table

FLEET = Dashboard(
    uid="flotilla-fleet",
    title="Flotilla: fleet health",
    meaning="Processes, replicas, alerts, dead letters, and who did what.",
    panels=[
        table(
            "Open alerts",
            "What somebody should look at.",
            """
SELECT raised_at AS "time", severity, kind, scope, sentence, sightings, last_seen_at
FROM alerts
WHERE resolved_at IS NULL
ORDER BY severity, raised_at
""",
        ),
        figure("Processes", "That answer Prometheus.", 'sum(up{job="flotilla"})'),
        figure("Dead letters", "That nobody has settled.", "max(flotilla_dead_letters_open)"),
        figure("Lagging", "Replicas without the active version.", "sum(flotilla_model_lagging)"),
        figure(
            "Least free space",
            "Where models and datasets are stored.",
            "min(flotilla_storage_free_bytes)",
            unit="bytes",
        ),
        table(
            "Replicas",
            "What each inference replica decides with; without a heart-beat for 30 s it is gone.",
            """
SELECT replica, strategy_id, state, coalesce(version, 'warm-up') AS version, epoch, since, problem,
       now() - heart_beat_at < interval '30 seconds' AS alive
FROM served_versions
WHERE strategy_id IN ($strategy)
ORDER BY strategy_id, replica
""",
        ),
        table(
            "Trading states",
            "Who may trade, and who said so; what is not listed has TRADING_STATE_INITIAL.",
            "SELECT scope, state, actor, reason, changed_at FROM trading_states ORDER BY scope",
            width=12,
        ),
        table(
            "Dead letters by cause",
            "Open ones, the most frequent first.",
            """
SELECT queue, service, reason, count(*) AS letters, max(failed_at) AS newest
FROM dead_letters
WHERE state = 'open'
GROUP BY queue, service, reason ORDER BY letters DESC LIMIT 50
""",
            width=12,
        ),
        over_time(
            "Alerts raised",
            "By kind.",
            """
SELECT $__timeGroup(raised_at, $__interval) AS "time", kind AS metric, count(*) AS alerts
FROM alerts
WHERE $__timeFilter(raised_at)
GROUP BY 1, 2 ORDER BY 1
""",
        ),
        measured(
            "API requests",
            "By status, a second.",
            {"{{status}}": "sum by (status) (rate(flotilla_api_requests_total[$__rate_interval]))"},
            unit="reqps",
        ),
        measured(
            "API durations",
            "99 % of the requests took no longer; the event stream apart.",
            {
                "99%": "histogram_quantile(0.99, sum by (le) (rate("
                'flotilla_api_request_duration_seconds_bucket{route!~".*/events"}[$__rate_interval])))'
            },
            unit="s",
        ),
        measured(
            "Memory",
            "Resident, by process.",
            {"{{service}} {{instance}}": 'process_resident_memory_bytes{job="flotilla"}'},
            unit="bytes",
        ),
        measured(
            "CPU",
            "Cores, by process.",
            {"{{service}} {{instance}}": 'rate(process_cpu_seconds_total{job="flotilla"}[$__rate_interval])'},
        ),
        measured(
            "Storage",
            "Free space, and what the versions take.",
            {
                "free for {{kept}}": "min by (kept) (flotilla_storage_free_bytes)",
                "versions": "max(flotilla_model_storage_bytes)",
            },
            unit="bytes",
        ),
        table(
            "What operators did",
            "Every command that took effect.",
            """
SELECT acted_at AS "time", actor, action, subject, reason
FROM operator_actions
WHERE $__timeFilter(acted_at)
ORDER BY acted_at DESC LIMIT 50
""",
        ),
    ],
)
