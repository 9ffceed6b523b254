"""Secrets: where they come from, which are refused, and that nobody ever says one."""

import base64
import secrets
from pathlib import Path

import certifi
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from common import secret_settings
from common.secret_settings import doubtful, refused, weakness
from common.settings import BusSettings, DatabaseSettings, FeatureServiceSettings, load
from common.ws_gateway import WsGatewaySettings

CANARY = "c4nary-9f3b7a51d0e8462c"


class Everything(DatabaseSettings, BusSettings, FeatureServiceSettings, WsGatewaySettings):
    """What a service reads that asks everybody."""


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch):
    for name in Everything.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


@given(st.binary(min_size=32, max_size=64).filter(lambda key: len(set(key)) > 24))
def test_32_random_bytes_are_taken_however_they_are_written(key):
    for text in (
        key.hex(),
        base64.b64encode(key).decode(),
        base64.urlsafe_b64encode(key).decode().rstrip("="),
    ):
        assert weakness(text) is None


@pytest.mark.parametrize(
    "key",
    [
        "9f4c1e7a2b8d306f5e1c9a7b4d2f8e0361a5c7e9b3d1f0284c6e8a0b2d4f61",
        "Qx7-bN3_kT9vLr2ZsW8yHc5mJf1pGd6aUe4iOq0R",
        "k" * 64,
        "0123456789abcdef" * 4,
        "correct-horse-battery-" * 3,
        "abababababababababababababababababababababababababababababababab",
        "changeme",
    ],
)
def test_what_cannot_be_32_random_bytes_is_refused_and_not_repeated(key):
    said = weakness(key)

    assert said is not None
    assert key not in said


@pytest.mark.parametrize(
    "name", ["database_url", "rabbitmq_url", "postgres_password", "feature_service_api_key"]
)
def test_a_secret_is_read_from_the_file_that_is_named(monkeypatch, tmp_path, name):
    value = {"database_url": f"postgresql://u:{CANARY}@h/d", "rabbitmq_url": f"amqp://u:{CANARY}@h/"}.get(
        name, CANARY
    )
    (tmp_path / "secret").write_text(f"{value}\n")
    monkeypatch.setenv(f"{name.upper()}_FILE", str(tmp_path / "secret"))

    assert getattr(Everything(), name).get_secret_value() == value


def test_a_variable_goes_before_the_file(monkeypatch, tmp_path):
    (tmp_path / "secret").write_text("of-the-file")
    monkeypatch.setenv("POSTGRES_PASSWORD_FILE", str(tmp_path / "secret"))
    monkeypatch.setenv("POSTGRES_PASSWORD", "of-the-variable")

    assert DatabaseSettings().postgres_password.get_secret_value() == "of-the-variable"


def test_only_secrets_are_read_from_files(monkeypatch, tmp_path):
    (tmp_path / "host").write_text("elsewhere")
    monkeypatch.setenv("POSTGRES_HOST_FILE", str(tmp_path / "host"))

    assert DatabaseSettings().postgres_host == "localhost"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read"),
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"\xff\xfe", "no UTF-8"),
        (b"x" * (secret_settings.MAX_FILE_BYTES + 1), "more than"),
    ],
)
def test_a_file_that_gives_no_secret_stops_the_start_and_names_the_variable(
    monkeypatch, capsys, tmp_path, content, said
):
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setenv("POSTGRES_PASSWORD_FILE", str(path))
    monkeypatch.setenv("RABBITMQ_PASSWORD_FILE", str(tmp_path))

    with pytest.raises(SystemExit) as exit_info:
        load(Everything)

    lines = capsys.readouterr().err.splitlines()
    assert exit_info.value.code == 78
    assert any(line.startswith("  POSTGRES_PASSWORD: its file ") and said in line for line in lines)
    assert any(line.startswith("  RABBITMQ_PASSWORD: its file cannot be read") for line in lines)


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "changeme",
        "change-me",
        "CHANGE_ME",
        "secret",
        "password",
        "your-api-key",
        "<key>",
        "${KEY}",
        "xxxx",
    ],
)
def test_an_empty_secret_and_an_example_are_refused_by_their_variable(monkeypatch, capsys, secret):
    monkeypatch.setenv("DATABASE_URL", f"postgresql://u:{CANARY}@h/d")
    monkeypatch.setenv("FEATURE_SERVICE_API_KEY", secret)

    with pytest.raises(SystemExit) as exit_info:
        load(Everything, needs_secrets=True)

    lines = capsys.readouterr().err.splitlines()[1:]
    assert exit_info.value.code == 78
    assert [line.strip().partition(":")[0] for line in lines] == ["FEATURE_SERVICE_API_KEY"]
    assert CANARY not in "".join(lines)


def test_the_password_of_a_url_is_judged_and_not_the_url():
    secrets_of = {
        name: Everything(**{name: url}).secrets_in_use()[name.upper()]
        for name, url in {"database_url": "postgresql://u@h/d", "rabbitmq_url": "amqp://h/"}.items()
    }

    assert secrets_of == {"database_url": "", "rabbitmq_url": "guest"}
    assert list(refused({"DATABASE_URL": ""}))
    assert "POSTGRES_PASSWORD" not in Everything(database_url="postgresql://u:p@h/d").secrets_in_use()


def test_a_neighbour_that_is_never_asked_needs_no_key():
    assert "WS_GATEWAY_API_KEY" not in Everything().secrets_in_use()
    assert Everything(ws_gateway_host="gateway").secrets_in_use()["WS_GATEWAY_API_KEY"] == ""


def test_a_short_secret_and_guest_are_worth_a_warning_that_does_not_say_them():
    found = dict(doubtful({"A": "guest", "B": "short-but-set", "C": secrets.token_hex(16)}))

    assert set(found) == {"A", "B"}
    assert "short-but-set" not in found["B"]


def test_a_root_certificate_without_verification_is_refused():
    authorities = Path(certifi.where())

    with pytest.raises(ValidationError, match="verify-full"):
        DatabaseSettings(postgres_sslrootcert=authorities, postgres_sslmode="require")
    with pytest.raises(ValidationError, match="RABBITMQ_TLS"):
        BusSettings(rabbitmq_ca_file=authorities)
    with pytest.raises(ValidationError, match="POSTGRES_SSLROOTCERT"):
        DatabaseSettings(database_url="postgresql://u:p@h/d?sslrootcert=/x")


def test_a_file_that_holds_no_certificate_is_refused(tmp_path):
    (tmp_path / "ca.pem").write_text("no certificate")

    for path in (tmp_path / "ca.pem", tmp_path / "missing.pem"):
        with pytest.raises(ValidationError, match="must be a readable file of certificates"):
            BusSettings(rabbitmq_tls=True, rabbitmq_ca_file=path)
