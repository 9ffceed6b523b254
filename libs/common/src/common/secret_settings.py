"""What makes a secret good enough, and the files that secrets may be read from.

Every setting that is a `SecretStr` may be given as NAME, or as NAME_FILE: the path of a file that holds it.
NAME goes before NAME_FILE. Nothing here ever says a secret, only the variable and what is wrong with it.
"""

import os
import re
import string
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args
from urllib.parse import unquote, urlsplit

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import PydanticBaseSettingsSource

MAX_FILE_BYTES = 64 * 1024
"""A longer file is no secret but a mistake."""
SHORT_CHARACTERS = 24
"""A secret of somebody else's that is shorter deserves a warning."""
HEX_CHARACTERS, TEXT_CHARACTERS = 64, 43
"""How 32 bytes are written: in hexadecimal digits, and in base64 without its padding."""
MIN_VARIETY = 10
"""Different characters at least: 32 random bytes have fewer once in a thousand million keys."""

_HEX = frozenset(string.hexdigits)
_EXAMPLE = re.compile(
    r"change[-_ ]?(me|it|this)|your[-_ ].*|.*[-_ ]here|<.*>|\$\{.*\}|x{3,}|\*+|\.\.\."
    r"|(my[-_ ]?)?(secret|password|passwd|api[-_ ]?key|key|token)"
    r"|example|sample|todo|test|admin|1234\d*|qwerty",
    re.IGNORECASE,
)
_REPLACED_BY = {"postgres_password": "database_url", "rabbitmq_password": "rabbitmq_url"}


class Unreadable(str):
    """Stands for the secret of a file that could not be read, and says why."""

    __slots__ = ()


class SecretFiles(PydanticBaseSettingsSource):
    """The secrets that NAME_FILE names, without the newline at their end."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """What the file of one setting holds, or None where no file is named."""
        path = os.environ.get(f"{field_name.upper()}_FILE") if is_secret(field) else None
        return (_content(path) if path else None), field_name, False

    def __call__(self) -> dict[str, Any]:
        """Every secret that a file is named for."""
        found = {
            name: self.get_field_value(each, name)[0] for name, each in self.settings_cls.model_fields.items()
        }
        return {name: value for name, value in found.items() if value is not None}


def is_secret(field: FieldInfo) -> bool:
    """Whether a setting is a secret, optional or not."""
    return _mentions_secret(field.annotation)


def weakness(key: str) -> str | None:
    """Why `key` cannot be 32 random bytes, written in hexadecimal or base64; None where it may be."""
    is_hex = set(key) <= _HEX
    needed = HEX_CHARACTERS if is_hex else TEXT_CHARACTERS
    if len(key) < needed:
        kind = "hexadecimal digits" if is_hex else "characters"
        return f"must be 32 random bytes or more: {needed} {kind} at least (openssl rand -hex 32)"
    if len(set(key)) < MIN_VARIETY or _repeats(key):
        return "must be random: 32 bytes of openssl rand -hex 32 hold no such pattern"
    return None


def refused(secrets: Mapping[str, str]) -> Iterator[str]:
    """One line per secret that nobody may start with: empty, or an example."""
    for variable, secret in secrets.items():
        if not secret:
            yield f"{variable}: is empty or has no password; set it, or {variable}_FILE"
        elif _EXAMPLE.fullmatch(secret):
            yield f"{variable}: holds an example value; set a secret of your own"


def doubtful(secrets: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Variable and reason of every secret that is accepted and should be replaced."""
    for variable, secret in secrets.items():
        if secret == "guest":  # noqa: S105 - RabbitMQ's own, known to everybody
            yield variable, "guest is known to everybody"
        elif len(secret) < SHORT_CHARACTERS:
            yield variable, f"shorter than {SHORT_CHARACTERS} characters"


def in_use(values: Mapping[str, Any]) -> dict[str, str]:
    """The secrets among the settings `values` that are used, by their variables: of a URL its password."""
    found = {}
    for name, value in values.items():
        if not isinstance(value, SecretStr) or values.get(_REPLACED_BY.get(name, "")) is not None:
            continue
        if values.get(name.replace("_api_key", "_host"), name) is None:  # a neighbour that is never asked
            continue
        text = value.get_secret_value()
        found[name.upper()] = _password(text) if "://" in text else text
    return found


# A broker that is named without a user is asked as guest.
def _password(url: str) -> str:
    try:
        parts = urlsplit(url)
        said = unquote(parts.password or "")
    except ValueError:
        return ""
    return said or ("guest" if parts.scheme in {"amqp", "amqps"} and parts.username is None else "")


def _content(path: str) -> str:
    try:
        with Path(path).open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
        text = content.decode().rstrip("\r\n")
    except OSError as error:
        return Unreadable(f"its file cannot be read: {error.strerror or 'no such file'}")
    except UnicodeDecodeError:
        return Unreadable("its file is no UTF-8 text")
    if len(content) > MAX_FILE_BYTES:
        return Unreadable(f"its file holds more than {MAX_FILE_BYTES} bytes")
    return text or Unreadable("its file is empty")


def _mentions_secret(annotation: Any) -> bool:
    return annotation is SecretStr or any(_mentions_secret(each) for each in get_args(annotation))


# Made of one shorter text, written over and over.
def _repeats(key: str) -> bool:
    return key in (key + key)[1:-1]
