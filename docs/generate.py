"""Writes what is derived from the code: docs of events, metrics, configuration; .env.example, openapi.json.

Run `make docs` after changing an event, a skip reason, a metric, a setting or a route: a test asks for it.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from secrets import token_hex
from typing import Any

from docs.configuration_page import configuration_page, default_of
from docs.metrics_page import metrics_page
from docs.reference_page import reference_page
from pydantic import SecretStr

import api.events
import api.settings
import common.core.exits.holds
import common.telemetry
import exit_strategy.events
import exit_strategy.settings
import inference.core.reasons
import inference.events
import inference.settings
import trainer.events
import trainer.settings
from api.app import create_app
from api.description import document
from common.core.named import Named
from common.exit_settings import ClosingSettings, ExitRuleSettings
from common.position_manager import PositionManagerSettings
from common.secret_settings import is_secret
from common.settings import (
    BusSettings,
    DatabaseSettings,
    FeatureServiceSettings,
    ModelStorageSettings,
    ProcessSettings,
    SettingsGroup,
    StrategySettings,
    TradingStateSettings,
)
from common.training_settings import TrainingQueueSettings

ROOT = Path(__file__).parent.parent
OPENAPI_PATH = ROOT / "tests" / "contract" / "openapi.json"
EVENTS: dict[str, type[Named]] = {
    "All services": common.telemetry.Event,
    "Inference": inference.events.Event,
    "Trainer": trainer.events.Event,
    "Exit strategy": exit_strategy.events.Event,
    "API": api.events.Event,
    "Why an exit waits": common.core.exits.holds.Hold,
    "Why there was no signal": inference.core.reasons.Reason,
}
SHARED: dict[str, type[SettingsGroup]] = {
    "PostgreSQL, all services": DatabaseSettings,
    "RabbitMQ, all services": BusSettings,
    "Every process": ProcessSettings,
    "Strategies": StrategySettings,
    "Trading state": TradingStateSettings,
    "Model storage": ModelStorageSettings,
    "Feature Service": FeatureServiceSettings,
    "Position Manager": PositionManagerSettings,
    "Closing positions": ClosingSettings,
    "Exit rules, exit worker and API": ExitRuleSettings,
    "Training queue, trainer and API": TrainingQueueSettings,
}
SERVICES: dict[str, type[SettingsGroup]] = {
    "Inference": inference.settings.Settings,
    "Trainer": trainer.settings.Settings,
    "Exit strategy": exit_strategy.settings.Settings,
    "API": api.settings.Settings,
}


def events_page() -> str:
    """Every event and reason with its meaning, as Markdown."""
    lines = ["# Events and reasons", "", "Written from the code by `make docs`.", ""]
    lines += [
        "A log line is one JSON object: `event` is one of the phrases below, everything variable is a key."
    ]
    for title, names in EVENTS.items():
        lines += ["", f"## {title}", "", "| name | meaning |", "|---|---|"]
        lines += [f"| `{member}` | {member.meaning} |" for member in names]
    return "\n".join(lines) + "\n"


def environment_file() -> str:
    """Every setting with its meaning and default, commented out."""
    lines = ["# Every setting of Flotilla with its default; written from the code by `make docs`."]
    lines += [
        "# A line without a value has no default. Secrets have no example on purpose; of NAME_FILE, the"
    ]
    lines += ["# path of a file that holds the secret, NAME goes first."]
    seen: set[str] = set()
    for title, group in {**SHARED, **SERVICES}.items():
        lines += ["", f"# --- {title}"]
        for name, field in group.model_fields.items():
            if name not in seen:
                seen.add(name)
                lines += [f"# {line}" for line in (field.description or "").splitlines()]
                lines += [f"#{name.upper()}={default_of(field)}"]
                lines += [f"#{name.upper()}_FILE="] * is_secret(field)
    return "\n".join(lines) + "\n"


def configuration() -> str:
    """Every setting with its readers, as Markdown."""
    return configuration_page({**SHARED, **SERVICES}, {**SERVICES, "Migrate": DatabaseSettings})


def openapi() -> dict[str, Any]:
    """What clients see of the API."""
    return document(create_app(api.settings.Settings(model_service_api_key=SecretStr(token_hex(32)))))


def settings_classes() -> Iterator[type[SettingsGroup]]:
    """Every class of settings that a process of the fleet reads."""
    yield from (*SHARED.values(), *SERVICES.values())


def pages() -> dict[Path, str]:
    """Everything that is written from the code, by its file."""
    described = openapi()
    return {
        ROOT / "docs" / "api-reference.md": reference_page(described),
        ROOT / "docs" / "events.md": events_page(),
        ROOT / "docs" / "metrics.md": metrics_page(),
        ROOT / "docs" / "configuration.md": configuration(),
        ROOT / ".env.example": environment_file(),
        OPENAPI_PATH: json.dumps(described, indent=2, ensure_ascii=False, sort_keys=True) + "\n",
    }


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text)
