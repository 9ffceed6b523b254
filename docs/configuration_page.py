"""Every variable of the environment, who reads it and what it means: docs/configuration.md."""

from collections.abc import Mapping
from enum import Enum

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from common.secret_settings import is_secret
from common.settings import SettingsGroup

Groups = Mapping[str, type[SettingsGroup]]
"""Settings by the heading that they stand under."""

_INTRODUCTION = [
    "Every setting is a variable of the environment; unset and empty are the same. `.env.example` has all of",
    "them with their defaults, to copy from; `flotilla config check` says what is wrong with those that are",
    "set ([command-line.md](command-line.md)); `deploy/presets` holds what is advised on paper and beside",
    "the platform. What differs from strategy to strategy stands in `STRATEGIES_FILE`",
    "([strategies.md](strategies.md)).",
    "",
    "A default that differs in one service is named with it; `–` is none. A **secret** is given as NAME, or",
    "as `NAME_FILE`, the path of a file that holds it ([security.md](security.md)); it has no default that a",
    "service starts with. Lists are separated by commas, booleans are `true` and `false`.",
]


def configuration_page(headings: Groups, services: Groups) -> str:
    """Every setting once, under its first heading, with the services that read it, as Markdown."""
    lines = ["# Configuration", "", "Written from the code by `make docs`.", "", *_INTRODUCTION]
    seen: set[str] = set()
    for title, group in headings.items():
        fresh = {name: field for name, field in group.model_fields.items() if name not in seen}
        seen |= fresh.keys()
        lines += ["", f"## {title}", "", "| variable | default | read by | meaning |", "|---|---|---|---|"]
        lines += [_row(name, field, services) for name, field in fresh.items()]
    return "\n".join(lines) + "\n"


def default_of(field: FieldInfo) -> str:
    """A default as a variable would say it; empty for a secret and where there is none."""
    value = field.get_default(call_default_factory=True)
    if value is None or isinstance(value, SecretStr) or field.is_required():
        return ""
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    if isinstance(value, bool):
        return str(value).lower()
    return str(value.value if isinstance(value, Enum) else value)


def _row(name: str, field: FieldInfo, services: Groups) -> str:
    readers = {
        title: each.model_fields[name] for title, each in services.items() if name in each.model_fields
    }
    default = default_of(field)
    defaults = [f"`{default}`" if default else "–"]
    defaults += [
        f"{title} `{default_of(own)}`" for title, own in readers.items() if default_of(own) != default
    ]
    said = " ".join((field.description or "").split()).replace("|", "\\|")
    secret = "**Secret.** " if is_secret(field) else ""
    return f"| `{name.upper()}` | {', '.join(defaults)} | {', '.join(readers)} | {secret}{said} |"
