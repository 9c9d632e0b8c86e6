"""Plans of answering: bytes against the tensors themselves, and the machines of the paper."""

from __future__ import annotations

import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support import TINY

from glm130b.config import load_config
from glm130b.errors import ConfigError
from glm130b.interop.expected import expected_tensors
from glm130b.model import Scheme
from glm130b.model.device import spread
from glm130b.planning import (
    Machine,
    Precision,
    Reader,
    WeightBytes,
    answering,
    cache_bytes,
    inference_text,
    parse_machine,
)
from glm130b.planning.inference import layers_on

GLM = load_config("130b").run.model
SMALL = TINY.model_copy(update={"hidden_size": 128, "ffn_size": 384, "num_layers": 7})
SCHEMES = [
    None,
    Scheme(8),
    Scheme(4),
    Scheme(4, group_size=32),
    Scheme(8, group_size=128),
    Scheme(4, scale_shards=4, output_bits=8),
    Scheme(8, output_bits=4),
]


def precision_of(scheme: Scheme | None) -> Precision:
    if scheme is None:
        return Precision()
    return Precision(scheme.bits, scheme.group_size, scheme.scale_shards, scheme.output_bits)


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_bytes_are_those_of_the_tensors(scheme: Scheme | None) -> None:
    infos = expected_tensors(SMALL, scheme)
    weights = WeightBytes.of(SMALL, precision_of(scheme))
    assert weights.total == sum(info.nbytes for info in infos.values())
    assert weights.layer == sum(info.nbytes for name, info in infos.items() if name.startswith("layers.3."))
    unread = {"word_embeddings.weight"} if "output.weight" in infos else set()
    assert weights.read == sum(info.nbytes for name, info in infos.items() if name not in unread)


@given(st.sampled_from(SCHEMES), st.integers(1, 9), st.integers(1, 60), st.integers(10, 5000))
def test_layers_lie_where_loading_puts_them(scheme: Scheme | None, count: int, layers: int, vocabulary: int) -> None:
    config = SMALL.model_copy(update={"num_layers": layers, "vocab_size": vocabulary})
    names = {name: info.nbytes for name, info in expected_tensors(config, scheme).items()}
    devices = [torch.device("cuda", n) for n in range(count)]
    places = spread(names, devices)
    there = [sum(places[f"layers.{n}.mlp.dense_4h_to_h.bias"] == device for n in range(layers)) for device in devices]
    assert layers_on(WeightBytes.of(config, precision_of(scheme)), count) == there


@pytest.mark.parametrize(
    ("machine", "bits", "holds", "fits"),
    [
        ("8x A100 40", None, 32.7e9, True),
        ("8x V100", None, 32.7e9, False),
        ("8x V100", 8, 16.4e9, True),
        ("8x RTX 3090", 8, 16.4e9, True),
        ("4x RTX 3090", 4, 17.2e9, True),
        ("8x RTX 2080 Ti", 4, 9.1e9, True),
        ("8x RTX 3090", None, 32.7e9, False),
        ("4x RTX 3090", 8, 33e9, False),
        ("4x RTX 2080 Ti", 4, 17.2e9, False),
    ],
)
def test_the_machines_of_the_paper(machine: str, bits: int | None, holds: float, fits: bool) -> None:
    weights = WeightBytes.of(GLM, Precision(bits))  # type: ignore[arg-type]
    plan = answering(GLM, weights, parse_machine(machine), context=2048)
    assert plan.works is fits
    assert plan.weights == pytest.approx(holds, rel=0.02)
    assert (plan.longest >= 2048) is fits


def test_time_is_bytes_over_bandwidth() -> None:
    reader = Reader("a machine", 10**12, 0.0, 2e9, None, 0.5)
    weights = WeightBytes.of(GLM, Precision(4))
    plan = answering(GLM, weights, Machine(reader), context=1000, batch=3)
    read = weights.total + 3 * 1000 * 2 * 70 * 12288 * 2
    assert plan.reading == read / 2e9
    assert plan.tokens_per_second(3) == pytest.approx(3 * 2e9 / read)
    assert plan.tokens_per_second(3, reader.reached) == pytest.approx(3 * 1e9 / read)
    several = answering(GLM, weights, Machine(reader, 5), context=1000, batch=3)
    assert several.reading == plan.reading  # they work in turn


@given(st.integers(0, 120), st.integers(1, 60))
def test_what_does_not_fit_comes_over_the_link(tenths: int, context: int) -> None:
    weights = WeightBytes.of(SMALL, Precision(8))
    cache = cache_bytes(SMALL, 2) * context
    memory = 1000 + weights.ends + cache + tenths * weights.layer // 10
    machine = Machine(Reader("a machine", memory, 0.0, 8e6, 1e6, 1.0))
    plan = answering(SMALL, weights, machine, context=context, reserve=1000)
    fitting = tenths // 10
    expected = max(0, 7 - fitting + 2 * (fitting < 7)) if fitting >= 2 else -1
    assert plan.works is (expected >= 0)
    if plan.works:
        assert plan.streamed == expected
        assert plan.bringing == pytest.approx(expected * weights.layer / 1e6)
        assert plan.reading == pytest.approx((weights.read - expected * weights.layer + cache) / 8e6)


@given(st.integers(1, 4), st.integers(1, 3), st.integers(0, 400_000))
def test_the_longest_text_is_the_longest_that_works(count: int, batch: int, more: int) -> None:
    weights = WeightBytes.of(SMALL, Precision(4))
    machine = Machine(Reader("a machine", 1000 + weights.total // count + more, 0.0, 1e6, None, 1.0), count)
    plan = answering(SMALL, weights, machine, context=1, batch=batch, reserve=1000)
    if plan.longest:
        assert answering(SMALL, weights, machine, context=plan.longest, batch=batch, reserve=1000).works
    assert not answering(SMALL, weights, machine, context=plan.longest + 1, batch=batch, reserve=1000).works


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("4x RTX 3090", "4 x RTX 3090 24 GB"),
        ("8 × 2080Ti", "8 x RTX 2080 Ti 11 GB"),
        ("A100-80", "A100 80 GB"),
        ("A100 40GB", "A100 40 GB"),
        ("h200", "H200 141 GB"),
    ],
)
def test_machines_as_people_write_them(text: str, expected: str) -> None:
    assert str(parse_machine(text)) == expected


@pytest.mark.parametrize("text", ["", "A100", "3x", "0x H200", "4090", "x H200", "GB"])
def test_other_machines_are_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_machine(text)


def test_the_text_says_what_was_computed() -> None:
    machines = [(parse_machine(name), Precision(4), 2) for name in ("4x RTX 3090", "RTX 3090", "4x RTX 2080 Ti")]
    text = inference_text("130b", GLM, Precision(4), machines, context=2048)
    table = text.split("\n\n")[1]
    rows = {line.split("  ")[1]: line for line in table.splitlines()[2:]}
    assert re.search(r"17\.2 GB +1\.9 GB +yes +13 +6\.\d +2,048$", rows["4 x RTX 3090 24 GB"])
    assert re.search(r"67\.2 GB +7\.0 GB +13 layers", rows["RTX 3090 24 GB"])
    assert re.search(r"17\.2 GB +1\.9 GB +no +- +- +-$", rows["4 x RTX 2080 Ti 11 GB"])
    assert "read     67.2 GB for every token" in text
