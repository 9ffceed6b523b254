"""The dashboards, and the JSON files that Grafana reads: `python -m deploy.grafana.build` writes them."""

import json
from pathlib import Path

from deploy.grafana.health import FLEET
from deploy.grafana.learning import MODELS, TRAINING
from deploy.grafana.panels import Dashboard, rendered
from deploy.grafana.trading import EXITS, SIGNALS, SKIPS

DASHBOARDS = (SIGNALS, SKIPS, MODELS, TRAINING, EXITS, FLEET)
WRITTEN = Path(__file__).parent / "dashboards"


def file_of(dashboard: Dashboard) -> Path:
    """Where a dashboard is written."""
    return WRITTEN / f"{dashboard.uid.removeprefix('flotilla-')}.json"


def text_of(dashboard: Dashboard) -> str:
    """What is written."""
    return json.dumps(rendered(dashboard), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for each in DASHBOARDS:
        file_of(each).write_text(text_of(each), encoding="utf-8")
