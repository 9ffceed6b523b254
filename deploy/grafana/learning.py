"""What the fleet learns: the quality of versions, and how they are trained."""

from deploy.grafana.panels import Dashboard, figure, measured, over_time, table

MODELS = Dashboard(
    uid="flotilla-models",
    title="Flotilla: model quality by split",
    meaning="How good versions are on rows they never saw, and on live ones.",
    panels=[
        table(
            "Active versions by split",
            "Accuracy beside always naming the most frequent class; the lift has its 95 % interval.",
            """
SELECT v.strategy_id, v.version, v.model_type, m.metadata ->> 'dataset_split' AS split,
       max(m.metric_value) FILTER (WHERE m.metric_name = 'accuracy') AS accuracy,
       max(m.metric_value) FILTER (WHERE m.metric_name = 'baseline_accuracy') AS baseline,
       max(m.metric_value) FILTER (WHERE m.metric_name = 'lift') AS lift,
       max(m.metric_value) FILTER (WHERE m.metric_name = 'lift_lower') AS lift_lower,
       max(m.metric_value) FILTER (WHERE m.metric_name = 'lift_upper') AS lift_upper
FROM model_versions v
JOIN LATERAL (
    SELECT DISTINCT ON (metric_name, metadata ->> 'dataset_split') metric_name, metric_value, metadata
    FROM model_quality_metrics WHERE model_version_id = v.id
    ORDER BY metric_name, metadata ->> 'dataset_split', evaluated_at DESC
) m ON true
WHERE v.is_active AND coalesce(v.strategy_id, 'default') IN ($strategy)
GROUP BY 1, 2, 3, 4 ORDER BY 1, 4
""",
        ),
        over_time(
            "Accuracy of new versions by split",
            "Each version where it was trained; test far below validation means that it was fitted to it.",
            """
SELECT v.trained_at AS "time", m.metadata ->> 'dataset_split' AS metric, m.metric_value AS accuracy
FROM model_versions v JOIN model_quality_metrics m ON m.model_version_id = v.id
WHERE $__timeFilter(v.trained_at) AND coalesce(v.strategy_id, 'default') IN ($strategy)
  AND m.metric_name = 'accuracy' AND m.metadata ->> 'dataset_split' IN ('validation', 'test')
ORDER BY 1
""",
            unit="percentunit",
        ),
        over_time(
            "Live accuracy",
            "Of the versions that traded, by the hour, once the horizon of their predictions had passed.",
            """
SELECT m.evaluated_at AS "time", v.version AS metric, m.metric_value AS accuracy
FROM model_quality_metrics m JOIN model_versions v ON v.id = m.model_version_id
WHERE $__timeFilter(m.evaluated_at) AND coalesce(v.strategy_id, 'default') IN ($strategy)
  AND m.metric_name = 'accuracy' AND m.metadata ->> 'dataset_split' = 'live'
ORDER BY 1
""",
            unit="percentunit",
        ),
        measured(
            "Accuracy lost since promotion",
            "Above QUALITY_DEGRADATION_DROP the strategy is trained anew.",
            {
                "{{strategy_id}}": "max by (strategy_id) "
                '(flotilla_active_version_accuracy_lost{strategy_id=~"$strategy"})'
            },
            unit="percentunit",
        ),
        measured(
            "Replicas that lag",
            "1 while a replica does not decide with the active version.",
            {"{{instance}} {{strategy_id}}": 'flotilla_model_lagging{strategy_id=~"$strategy"}'},
        ),
        table(
            "Verdicts",
            "The newest versions and what the promotion gate said of each.",
            """
SELECT trained_at AS "time", version, coalesce(strategy_id, 'default') AS strategy_id, model_type, is_active,
       verdict, verdict_sentence
FROM model_versions
WHERE $__timeFilter(trained_at) AND coalesce(strategy_id, 'default') IN ($strategy)
ORDER BY trained_at DESC LIMIT 50
""",
        ),
        table(
            "Activations",
            "Who put which version to work, and why.",
            """
SELECT activated_at AS "time", strategy_id, epoch, coalesce(version, 'warm-up') AS version, actor, reason
FROM activations
WHERE $__timeFilter(activated_at) AND strategy_id IN ($strategy)
ORDER BY activated_at DESC LIMIT 50
""",
        ),
    ],
)

TRAINING = Dashboard(
    uid="flotilla-training",
    title="Flotilla: training queue",
    meaning="What is being trained, what waits, and how runs ended.",
    panels=[
        figure("Waiting", "Runs that wait for a dataset or a trainer.", "max(flotilla_training_queue_size)"),
        figure(
            "Longest wait",
            "Of the runs that wait.",
            "max(flotilla_training_queue_wait_seconds)",
            unit="s",
        ),
        figure("Running", "Over all trainers.", "max(flotilla_training_running)"),
        figure(
            "Success rate",
            "Share of the runs that ended with a version.",
            "max(flotilla_training_success_rate)",
            unit="percentunit",
        ),
        table(
            "Queue",
            "Runs that are not finished.",
            """
SELECT strategy_id, symbol, trigger, priority, state, requested_at, started_at, attempts,
       progress ->> 'stage' AS stage, progress ->> 'round' AS round, reason
FROM training_runs
WHERE state IN ('requested', 'building', 'ready', 'running') AND strategy_id IN ($strategy)
ORDER BY requested_at
""",
        ),
        over_time(
            "Ends",
            "Runs that ended, by how.",
            """
SELECT $__timeGroup(finished_at, $__interval) AS "time", state AS metric, count(*) AS runs
FROM training_runs
WHERE $__timeFilter(finished_at) AND strategy_id IN ($strategy)
GROUP BY 1, 2 ORDER BY 1
""",
        ),
        over_time(
            "Duration",
            "From a run's first step to its end.",
            """
SELECT finished_at AS "time", strategy_id AS metric, extract(epoch FROM finished_at - started_at) AS seconds
FROM training_runs
WHERE $__timeFilter(finished_at) AND started_at IS NOT NULL AND strategy_id IN ($strategy)
ORDER BY 1
""",
            unit="s",
        ),
        measured(
            "Failing strategies",
            "1 while the last training of a strategy has failed.",
            {"{{strategy_id}}": 'max by (strategy_id) (flotilla_training_failing{strategy_id=~"$strategy"})'},
        ),
        measured(
            "Datasets being built",
            "While one is, the Feature Service answers nothing else.",
            {"builds": "max(flotilla_training_dataset_builds)"},
        ),
        table(
            "Newest ends",
            "With the reason in the trainer's words.",
            """
SELECT finished_at AS "time", strategy_id, symbol, state, version, reason
FROM training_runs
WHERE $__timeFilter(finished_at) AND strategy_id IN ($strategy)
ORDER BY finished_at DESC LIMIT 50
""",
        ),
    ],
)
