"""`python -m common.configuration`: what is wrong with the environment, before anything is started.

Looked at is every service that is installed here: each names its settings among the entry points
`flotilla.settings`. Files are read as compose reads an `env_file`: a later one goes before an earlier one,
and the environment before all of them. Exit code 0: no error; 1: an error. No secret is ever printed.
"""

import argparse
import difflib
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, get_args

import msgspec
from pydantic import ValidationError

from common import environment_file, secret_settings
from common.configuration_advice import Preset, Severity, borrowed, unfitting
from common.settings import SettingsGroup, StrategySettings, problems

GROUP = "flotilla.settings"
"""Entry points: name of a service, and the class of its settings."""
FLEET = frozenset({"inference", "trainer", "exit-strategy", "api"})
NEAR = 0.85
"""How alike two names are from which on one is taken for the other, mistyped."""

_OTHERS = re.compile(r"(AWS|SANDBOX)_.*|FLOTILLA_(URL|ACTOR|VERSION)|MODEL_SERVICE_ADDRESS|PLATFORM_NETWORK")
_VARIABLE = re.compile(r"\b[A-Z][A-Z0-9]*_[A-Z0-9_]+\b")
_OVERRIDDEN = {"DATABASE_URL": "POSTGRES_HOST", "RABBITMQ_URL": "RABBITMQ_HOST"}


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that somebody should change."""

    severity: Severity
    variable: str
    sentence: str
    """What is wrong with it, and what to do."""
    services: tuple[str, ...] = ()
    """Who reads it; empty: nobody does."""


def installed() -> dict[str, type[SettingsGroup]]:
    """The settings of every service that is installed here, by its name."""
    return {each.name: each.load() for each in sorted(entry_points(group=GROUP), key=lambda each: each.name)}


def findings(
    services: Mapping[str, type[SettingsGroup]],
    environment: Mapping[str, str],
    *,
    from_files: Iterable[str] = (),
    preset: Preset | None = None,
) -> list[Finding]:
    """What is wrong for `services`, errors first; one finding says it for all whom it concerns.

    Of a variable with an error nothing less is said.

    `environment` is the process's own, which the settings read; `from_files` are the names that a file
    brought, of which every one should be a setting.
    """
    found: dict[tuple[Severity, str, str], list[str]] = {}
    for service, settings_type in services.items():
        for severity, variable, sentence in _of_service(service, settings_type, preset):
            found.setdefault((severity, variable, sentence), []).append(service)
    joined = [
        Finding(severity=severity, variable=variable, sentence=sentence, services=tuple(readers))
        for (severity, variable, sentence), readers in found.items()
    ]
    joined += _overridden(environment)
    wrong = {each.variable for each in joined if each.severity == "error"}
    joined = [each for each in joined if each.severity == "error" or each.variable not in wrong]
    return sorted(joined, key=lambda each: (each.severity, each.variable)) + _unread(environment, from_files)


def main(argv: Sequence[str] | None = None) -> int:
    """Writes the findings; exit code 1 where one of them is an error."""
    services = installed()
    arguments = _parser(services).parse_args(argv)
    try:
        said = [environment_file.read(path) for path in arguments.env_file]
    except environment_file.NotAnEnvironmentFile as error:
        sys.stderr.write(f"{error}\n")
        return 1
    of_files = {name: value for each in said for name, value in each.items()}
    # Unset and empty are the same, here as for the services.
    os.environ.update({name: value for name, value in of_files.items() if not os.environ.get(name)})
    chosen = {name: each for name, each in services.items() if arguments.service in (None, name)}
    found = findings(chosen, os.environ, from_files=of_files, preset=arguments.preset)
    _write(found, tuple(chosen), as_json=arguments.json)
    return int(any(each.severity == "error" for each in found))


def _parser(services: Mapping[str, type[SettingsGroup]]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="flotilla config check", description="Checks the environment.")
    parser.add_argument("--preset", choices=get_args(Preset), help="what the fleet is to be used for")
    parser.add_argument("--service", choices=sorted(services), help="only this service's settings")
    parser.add_argument("--env-file", type=Path, action="append", default=[], help="a file of NAME=value")
    parser.add_argument("--json", action="store_true", help="for scripts")
    return parser


def _write(found: Sequence[Finding], checked: tuple[str, ...], *, as_json: bool) -> None:
    if as_json:
        sys.stdout.buffer.write(msgspec.json.encode({"checked": checked, "findings": found}) + b"\n")
        sys.stdout.flush()
        return
    for each in found:
        readers = f" ({', '.join(each.services)})" if each.services else ""
        sys.stdout.write(f"{each.severity}: {each.variable}: {each.sentence}{readers}\n")
    errors = sum(each.severity == "error" for each in found)
    sys.stdout.write(f"checked {', '.join(checked)}: {errors} errors, {len(found) - errors} warnings\n")


_Said = tuple[Severity, str, str]
"""Severity, variable, sentence."""


def _of_service(service: str, settings_type: type[SettingsGroup], preset: Preset | None) -> Iterator[_Said]:
    invalid: list[_Said] = []
    try:
        settings = settings_type()
    except ValidationError as error:
        invalid = [_explained(settings_type, line) for line in problems(settings_type, error)]
        yield from invalid
        if (with_defaults := _despite(settings_type, error)) is None:
            return
        settings = with_defaults
    named = {variable for _, variable, _ in invalid}
    secrets = {name: each for name, each in settings.secrets_in_use().items() if name not in named}
    yield from map(_split, secret_settings.refused(secrets))
    if isinstance(settings, StrategySettings):
        yield from map(_split, settings.strategy_problems())
    for variable, reason in secret_settings.doubtful(secrets):
        yield "warning", variable, f"{reason}; openssl rand -hex 32 makes a better one"
    values = {name: getattr(settings, name) for name in settings_type.model_fields}
    yield from _directories(service, values)
    if preset:
        for advice in (*unfitting(preset, values), *borrowed(preset, secrets)):
            yield advice.severity, advice.setting.upper(), advice.sentence


# The rest is looked at as if what is invalid were unset; None where that is not enough.
def _despite(settings_type: type[SettingsGroup], error: ValidationError) -> SettingsGroup | None:
    fields = settings_type.model_fields
    invalid = {str(each["loc"][0]) for each in error.errors(include_input=False) if each["loc"]}
    try:
        return settings_type(
            **{name: fields[name].get_default(call_default_factory=True) for name in invalid}
        )
    except ValidationError:
        return None


def _split(line: str) -> _Said:
    variable, colon, sentence = line.partition(": ")
    if colon and _VARIABLE.fullmatch(variable):
        return "error", variable, sentence
    named = _VARIABLE.search(line)
    return "error", named[0] if named else "settings", line


# What the type says is wrong is seldom in an operator's words: the meaning of the setting is.
def _explained(settings_type: type[SettingsGroup], line: str) -> _Said:
    severity, variable, sentence = _split(line)
    field = settings_type.model_fields.get(variable.lower())
    if field is None or not field.description:
        return severity, variable, sentence
    return severity, variable, f"{sentence}. It is: {' '.join(field.description.split())}"


def _directories(service: str, values: Mapping[str, Any]) -> Iterator[_Said]:
    for name, value in values.items():
        if not name.endswith("_path") or not isinstance(value, Path):
            continue
        if name == "model_storage_path" and values.get("model_storage_url"):
            continue
        directory = value.parent if value.suffix else value
        writes = name != "model_storage_path" or service == "trainer"
        if not directory.is_dir():
            yield "error", name.upper(), f"{directory} is no directory here: make it, or mount it"
        elif not os.access(directory, os.R_OK | os.X_OK | (os.W_OK if writes else 0)):
            verb = "written" if writes else "read"
            yield (
                "error",
                name.upper(),
                f"{directory} cannot be {verb} by this user: change its owner or mode",
            )


def _overridden(environment: Mapping[str, str]) -> Iterator[Finding]:
    for url, part in _OVERRIDDEN.items():
        if (environment.get(url) or environment.get(f"{url}_FILE")) and environment.get(part):
            yield Finding(severity="warning", variable=part, sentence=f"is not used: {url} goes before it")
    for name in sorted(environment):
        plain = name.removesuffix("_FILE")
        if plain != name and environment[name] and environment.get(plain) and plain in _secrets():
            yield Finding(severity="warning", variable=name, sentence=f"is not read: {plain} goes before it")


def _unread(environment: Mapping[str, str], from_files: Iterable[str]) -> list[Finding]:
    services, filed, found = installed(), set(from_files), []
    known = {name.upper() for each in services.values() for name in each.model_fields}
    known |= {f"{name}_FILE" for name in _secrets()}
    complete = services.keys() >= FLEET
    for name in sorted(set(environment) - known):
        plain = name.removesuffix("_FILE")
        near = difflib.get_close_matches(name, known, n=1, cutoff=NEAR) or [plain] * (plain in known)
        if _OTHERS.fullmatch(name) or not (near or name in filed):
            continue
        if plain in known:
            sentence = f"no service reads it: only secrets come from files, set {plain}"
        elif near:
            sentence = f"no service reads it: {near[0]} is perhaps meant"
        else:
            sentence = "no service reads it: remove it, or look for the right name in .env.example"
        severity: Severity = "error" if near and complete else "warning"
        found.append(Finding(severity=severity, variable=name, sentence=sentence))
    return found


def _secrets() -> set[str]:
    return {
        name.upper()
        for each in installed().values()
        for name, field in each.model_fields.items()
        if secret_settings.is_secret(field)
    }


if __name__ == "__main__":
    sys.exit(main())
