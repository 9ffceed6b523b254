import pytest
from pydantic import ValidationError

from common.settings import BusSettings, DatabaseSettings, load, problems
from inference.settings import Settings


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch):
    for name in ("DATABASE_URL", "RABBITMQ_URL", "TRADING_STRATEGIES"):
        monkeypatch.delenv(name, raising=False)


def test_every_problem_is_named_at_once_and_no_secret_shown(monkeypatch, capsys):
    monkeypatch.setenv("DATABASE_URL", "mysql://root:s3cret@db/x")
    monkeypatch.setenv("INFERENCE_PORT", "70000")
    monkeypatch.setenv("WARMUP_SIGNAL_FREQUENCY", "0")
    monkeypatch.setenv("WARMUP_RANDOMNESS_LEVEL", "nan")
    monkeypatch.setenv("TRADING_STRATEGIES", "a,a")
    monkeypatch.setenv("FEATURE_SERVICE_USE_QUEUE", "false")

    with pytest.raises(SystemExit) as stopped:
        load(Settings)

    said = capsys.readouterr().err
    assert stopped.value.code == 78
    assert "DATABASE_URL: must start with postgresql://" in said
    assert "TRADING_STRATEGIES: names a strategy twice" in said
    assert "TRADING_SYMBOLS must name the symbols" in said
    for variable in ("INFERENCE_PORT", "WARMUP_SIGNAL_FREQUENCY", "WARMUP_RANDOMNESS_LEVEL"):
        assert f"{variable}: " in said
    assert "s3cret" not in said


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"WARMUP_MIN_AMOUNT": "20", "WARMUP_MAX_AMOUNT": "10"}, "WARMUP_MIN_AMOUNT must not exceed"),
        (
            {"MARKET_DATA_MAX_AGE_SECONDS": "30", "MARKET_DATA_STALE_WARNING_THRESHOLD_SECONDS": "30"},
            "MARKET_DATA_STALE_WARNING_THRESHOLD_SECONDS must be below",
        ),
        ({"FEATURE_SERVICE_USE_QUEUE": "false"}, "TRADING_SYMBOLS must name the symbols"),
        ({"TRADING_STRATEGIES": "a,b,a"}, "names a strategy twice"),
        ({"TRADING_STRATEGIES": "s" * 101}, "1 to 100 characters"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(monkeypatch, environment, says):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(ValidationError) as refused:
        Settings()

    assert any(says in line for line in problems(Settings, refused.value))


def test_a_configured_zero_stays_zero(monkeypatch):
    monkeypatch.setenv("WARMUP_RANDOMNESS_LEVEL", "0")
    monkeypatch.setenv("TRADING_FEE_RATE", "0")

    assert Settings().warmup_randomness_level == 0
    assert Settings().trading_fee_rate == 0


def test_lists_are_comma_separated_and_empty_means_default(monkeypatch):
    assert Settings().strategies() == ("default",)

    monkeypatch.setenv("TRADING_STRATEGIES", "momentum, reversion,")

    assert Settings().strategies() == ("momentum", "reversion")


def test_urls_are_built_of_their_parts_with_credentials_escaped(monkeypatch):
    monkeypatch.setenv("POSTGRES_PASSWORD", "p@ss:w/rd")
    monkeypatch.setenv("RABBITMQ_PASSWORD", "p@ss:w/rd")

    assert DatabaseSettings().sqlalchemy_url() == (
        "postgresql+asyncpg://postgres:p%40ss%3Aw%2Frd@localhost:5432/postgres"
    )
    assert BusSettings().amqp_url() == "amqp://guest:p%40ss%3Aw%2Frd@localhost:5672/"


def test_a_url_overrides_its_parts(monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "postgres://u:p@h:1/d")
    monkeypatch.setenv("RABBITMQ_URL", "amqp://u:p@h:2/v")

    assert DatabaseSettings().sqlalchemy_url() == "postgresql+asyncpg://u:p@h:1/d"
    assert BusSettings().amqp_url() == "amqp://u:p@h:2/v"
