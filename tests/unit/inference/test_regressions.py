"""What the older model service got wrong, each pinned by what must hold instead."""

import math
import os
import subprocess
import sys
from decimal import Decimal

import msgspec
import pytest
from tests.unit.inference.cases import NOW, case, ledger, limits, proposal, screening, situation, vector

from common.core.rate_limit import Bucket
from common.messages import MarketSnapshot
from inference.core.alignment import align
from inference.core.decide import Signal, decide
from inference.core.model import Model, ModelPolicy, propose
from inference.core.reasons import Reason, Skip
from inference.core.screening import screen
from inference.policy import ConfiguredPolicies
from inference.settings import Settings

MODEL = Model(
    version="v7",
    sha256="ab" * 32,
    symbol="BTCUSDT",
    features=("returns_1m", "spread_rel"),
    optional_features=frozenset(),
    labels=(-1, 0, 1),
    threshold=0.5,
    calibration=(),
    feature_registry_version="1.0.0",
    horizon_s=60.0,
)
POLICY = ModelPolicy(
    min_amount_quote=Decimal(100),
    max_amount_quote=Decimal(200),
    probability_lead=0.05,
    confidence_threshold=None,
    cost_aware=False,
    round_trip_rate=0.003,
)


def answered(*probabilities, labels=(-1, 0, 1), **changes):
    model = msgspec.structs.replace(MODEL, labels=labels, **changes)
    return propose(probabilities, model, POLICY, MarketSnapshot(price=100.0), {})


@pytest.mark.parametrize(
    ("labels", "probabilities", "side"),
    [
        ((-1, 0, 1), (0.8, 0.1, 0.1), "sell"),
        ((1, 0, -1), (0.8, 0.1, 0.1), "buy"),
        ((-1, 1), (0.8, 0.2), "sell"),
        ((-1, 0), (0.8, 0.2), "sell"),
    ],
)
def test_the_first_class_is_what_the_version_says_it_is(labels, probabilities, side):
    assert answered(*probabilities, labels=labels).side == side


def test_a_model_can_answer_that_nothing_should_be_done():
    assert answered(0.1, 0.8, 0.1).reason is Reason.HOLD
    assert answered(0.0, 1.0, labels=(-1, 0)).reason is Reason.HOLD


def test_the_amount_of_a_sell_is_quote_currency_as_that_of_a_buy():
    outcome = decide(case(proposal=proposal("sell"), situation=situation(live_size=Decimal("0.05"))))

    assert isinstance(outcome, Signal)
    assert outcome.message.amount == 5.0  # 0.05 at a price of 100


def test_a_refused_signal_takes_nothing_of_the_rate_limit():
    full = ledger(bucket=Bucket(tokens=1, refilled_at=NOW))

    refused = decide(case(ledger=full, situation=situation(live_size=None)))

    assert isinstance(refused, Skip)
    assert full.bucket.tokens == 1
    assert isinstance(decide(case(ledger=full)), Signal)


def test_a_configured_zero_is_zero_and_not_the_default():
    settings = Settings(
        signal_confidence_threshold=0,
        signal_probability_lead=0,
        warmup_randomness_level=0,
        trading_fee_rate=Decimal(0),
        trading_slippage_rate=Decimal(0),
        position_cache_ttl_seconds=0,
    )

    assert settings.model_policy().confidence_threshold == 0
    assert settings.model_policy().probability_lead == 0
    assert settings.warm_up().randomness == 0
    assert (settings.limits().fee_rate, settings.limits().slippage_rate) == (0, 0)
    assert settings.position_cache_ttl_seconds == 0


@pytest.mark.parametrize("price", [None, 0.0, -1.0, math.nan])
def test_without_a_price_there_is_no_signal_and_none_is_invented(price):
    bare = vector()
    del bare.features["mid_price"]
    if price is not None:
        bare.features["mid_price"] = price

    assert isinstance(screen(screening(bare)), Skip)


def test_the_accuracy_that_promotes_a_version_is_not_the_confidence_that_trades_it(monkeypatch):
    monkeypatch.setenv("MODEL_QUALITY_THRESHOLD_ACCURACY", "0.99")
    policies = ConfiguredPolicies(Settings(signal_confidence_threshold=0.6))

    threshold = policies.of("default", "BTCUSDT").model.confidence_threshold

    assert threshold == 0.6
    assert "model_quality_threshold_accuracy" not in Settings.model_fields


def test_a_missing_feature_is_named_and_never_zero():
    lacking = vector()
    del lacking.features["spread_rel"]

    outcome = align(lacking, MODEL)

    assert isinstance(outcome, Skip)
    assert outcome.facts["missing"] == ["spread_rel"]


def test_a_row_holds_nothing_but_the_manifests_features():
    named = vector(returns_1m=0.25)

    assert align(named, MODEL) == (0.25, named.features["spread_rel"])


@pytest.mark.parametrize("seed", ["0", "1"])
def test_two_processes_decide_the_same(seed):
    code = (
        "import msgspec\n"
        "from tests.unit.inference.cases import case\n"
        "from inference.core.decide import decide\n"
        "print(msgspec.json.encode(decide(case())).decode())\n"
    )
    environment = {**os.environ, "PYTHONHASHSEED": seed}

    said = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    ).stdout

    assert said.strip() == msgspec.json.encode(decide(case())).decode()


def test_an_amount_above_the_order_managers_cap_is_not_sent():
    outcome = decide(
        case(proposal=proposal(requested="5000"), limits=limits(max_order_notional=Decimal(950)))
    )

    assert isinstance(outcome, Signal)
    assert outcome.message.amount == 950
