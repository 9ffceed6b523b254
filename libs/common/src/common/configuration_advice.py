"""What each preset advises: which settings, valid by themselves, are wrong on paper or beside real money."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import msgspec

from common.core.trading_state import TradingState

Preset = Literal["paper", "platform"]
Severity = Literal["error", "warning"]


class Advice(msgspec.Struct, frozen=True):
    """What is said of a setting where it does not fit."""

    setting: str
    fits: Callable[[Any], bool]
    sentence: str
    severity: Severity = "warning"


def _is_set(value: object) -> bool:
    return value not in (None, (), "")


def _is_elsewhere(host: object) -> bool:
    return host not in ("localhost", "127.0.0.1", "::1")


def _of_the_sandbox(secret: str) -> bool:
    return secret.lower() in {"sandbox", "demo", "flotilla", "guest", "postgres"}


ADVICE: Mapping[Preset, tuple[Advice, ...]] = {
    "paper": (
        Advice(
            "trading_state_initial",
            lambda state: state != TradingState.HALTED,
            "nothing is traded before somebody says `flotilla state resume fleet`; on paper ACTIVE will do",
        ),
        Advice("exit_strategy_enabled", bool, "no position is closed: set it to true to see the exit rules"),
    ),
    "platform": (
        Advice(
            "trading_state_initial",
            lambda state: state == TradingState.HALTED,
            "beside real money begin with HALTED, then REDUCING, then ACTIVE, each by an operator",
        ),
        Advice("exit_strategy_enabled", bool, "no position is closed by rule: set it to true"),
        Advice("stop_loss_enabled", bool, "a position may lose without an end: set it to true"),
        Advice("max_exposure_quote", _is_set, "say how much all positions together may be worth"),
        Advice("max_notional_per_hour", _is_set, "say how much may be entered in an hour"),
        Advice("trading_symbols", _is_set, "every symbol of the stream is traded: name those that you mean"),
        Advice(
            "short_entries_enabled",
            lambda allowed: not allowed,
            "a sell without a long opens a short: false unless the account is meant to",
        ),
        Advice(
            "postgres_sslmode",
            lambda mode: mode == "verify-full",
            "verify-full proves that the database is the one you mean",
        ),
        Advice(
            "rabbitmq_tls", bool, "passwords and signals travel in the clear: true, with RABBITMQ_PORT 5671"
        ),
        Advice(
            "postgres_user",
            lambda user: user != "postgres",
            "the superuser may do everything: give the service a login of its own role (docs/security.md)",
        ),
        Advice(
            "rabbitmq_user",
            lambda user: user != "guest",
            "guest may do everything: give the service a user of its own (docs/security.md)",
        ),
        Advice("postgres_host", _is_elsewhere, "is this machine: name the platform's database"),
        Advice("rabbitmq_host", _is_elsewhere, "is this machine: name the platform's broker"),
        Advice("feature_service_host", _is_elsewhere, "is this machine: name the platform's Feature Service"),
        Advice(
            "position_manager_host", _is_elsewhere, "is this machine: name the platform's Position Manager"
        ),
    ),
}
"""By preset, in the order of what matters."""

_BY_URL = {"postgres_": "database_url", "rabbitmq_": "rabbitmq_url"}


def unfitting(preset: Preset, values: Mapping[str, Any]) -> Iterator[Advice]:
    """The advice that the settings `values`, by their names, do not follow."""
    for advice in ADVICE[preset]:
        replaced_by = next(
            (url for prefix, url in _BY_URL.items() if advice.setting.startswith(prefix)), None
        )
        if replaced_by and advice.setting != "postgres_sslmode" and values.get(replaced_by) is not None:
            continue
        if advice.setting in values and not advice.fits(values[advice.setting]):
            yield advice


def borrowed(preset: Preset, secrets: Mapping[str, str]) -> Iterator[Advice]:
    """Secrets, by their variables, that are good for a sandbox alone, or open more than one door."""
    if preset == "paper":
        return
    seen: dict[str, str] = {}
    for variable, secret in secrets.items():
        if _of_the_sandbox(secret):
            yield Advice(variable.lower(), bool, "is the sandbox's: set the platform's own", "error")
        elif secret and (other := seen.setdefault(secret, variable)) != variable:
            yield Advice(variable.lower(), bool, f"is the same as {other}: whoever has one has both")
