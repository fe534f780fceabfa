"""What holds a sync up, from made-up rates."""

from __future__ import annotations

from dataclasses import replace

import pytest

from zsindex.bench.bottleneck import Bottleneck, Rates, advice, expected_sync, find_bottleneck

# Decoding takes 10 ms of a photo, the model 90.
MODEL = Rates(decode_core=50, decode=100, decode_fast=60, encode=1 / 0.09, sync=10)
# The other way round; with the fast mode decoding would take 22.5 ms instead of 90.
DECODING = Rates(decode_core=6, decode=1 / 0.09, decode_fast=24, encode=100, sync=10)
BOTH = Rates(decode_core=10, decode=20, decode_fast=11, encode=20, sync=10)


def test_on_a_cpu_times_add_up_and_beside_a_gpu_the_slower_counts() -> None:
    assert expected_sync(20, 20, on_cpu=True) == pytest.approx(10)
    assert expected_sync(100, 1 / 0.09, on_cpu=True) == pytest.approx(10)
    assert expected_sync(100, 30, on_cpu=False) == 30
    assert expected_sync(30, 100, on_cpu=False) == 30


@pytest.mark.parametrize("on_cpu", [True, False])
@pytest.mark.parametrize(
    ("rates", "expected"),
    [(MODEL, Bottleneck.MODEL), (DECODING, Bottleneck.DECODING), (BOTH, Bottleneck.BOTH)],
    ids=lambda value: str(value) if isinstance(value, Bottleneck) else "",
)
def test_what_takes_longer_is_the_bottleneck(rates: Rates, expected: Bottleneck, on_cpu: bool) -> None:
    rates = replace(rates, sync=expected_sync(rates.decode, rates.encode, on_cpu=on_cpu))
    assert find_bottleneck(rates, on_cpu=on_cpu) is expected


@pytest.mark.parametrize("rates", [MODEL, DECODING, BOTH])
def test_a_sync_that_neither_explains_waits_for_something_else(rates: Rates) -> None:
    assert find_bottleneck(replace(rates, sync=5.9), on_cpu=True) is Bottleneck.OTHER
    assert find_bottleneck(replace(rates, sync=6.1), on_cpu=True) is not Bottleneck.OTHER
    text = advice(replace(rates, sync=2), model="nano", precision="fp32", on_cpu=True)
    assert "they allow 10.0 photos/s, and a sync gets 2.0" in text


def test_fast_decoding_is_named_with_its_gain_where_it_brings_something() -> None:
    text = advice(DECODING, model="nano", precision="fp32", on_cpu=True)
    assert text.startswith("Decoding holds up the model: --decode fast")
    assert "3.1 times as fast" in text  # 100 ms become 32.5


@pytest.mark.parametrize("decode_fast", [None, 6.5])
def test_fast_decoding_is_not_named_where_it_is_on_or_brings_little(decode_fast: float | None) -> None:
    text = advice(replace(DECODING, decode_fast=decode_fast), model="nano", precision="fp32", on_cpu=True)
    assert text.startswith("Decoding holds up the model")
    assert "--decode" not in text


@pytest.mark.parametrize(
    ("model", "precision", "on_cpu", "named", "not_named"),
    [
        ("nano", "fp32", True, ["--precision auto", "GPU"], ["smaller"]),
        ("ViT-B-32/x", "fp32", True, ["--precision auto", "GPU", "smaller"], []),
        ("ViT-B-32/x", "bf16", True, ["GPU", "smaller"], ["--precision"]),
        ("ViT-B-32/x", "fp32", False, ["fp16", "smaller"], ["GPU", "auto"]),
        ("nano", "bf16", False, ["the smallest there is"], ["GPU", "--precision"]),
    ],
)
def test_a_slow_model_has_these_remedies(
    model: str, precision: str, on_cpu: bool, named: list[str], not_named: list[str]
) -> None:
    rates = replace(MODEL, sync=expected_sync(MODEL.decode, MODEL.encode, on_cpu=on_cpu))
    text = advice(rates, model=model, precision=precision, on_cpu=on_cpu)
    assert text.startswith("The model holds up decoding")
    assert [word for word in named if word not in text] == []
    assert [word for word in not_named if word in text] == []


def test_where_both_take_as_long_the_one_that_can_be_helped_is_named() -> None:
    assert "--precision auto" in advice(BOTH, model="nano", precision="fp32", on_cpu=True)
    faster = replace(BOTH, decode_fast=40)
    assert "--decode fast" in advice(faster, model="nano", precision="fp32", on_cpu=True)
