"""The model against the numbers of the authors' own code."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from support import FIXTURE_CONFIG, FIXTURES, branches, fixture_model, load_case

from glm130b.interop import load_model
from glm130b.model import GLM, visible
from glm130b.model.rope import inverse_frequencies, rotary_tables

CASES = sorted(path.stem for path in (FIXTURES / "cases").glob("*.npz"))


def logits_and_rows(model: GLM, case: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Our logits at the rows the file holds, and which of those rows are real tokens."""
    sample, branch = branches(case["attention_mask"], case["valid"])
    tokens, position_ids = torch.from_numpy(case["tokens"]), torch.from_numpy(case["position_ids"])
    logits = model(tokens, position_ids, sample, branch).numpy()
    rows = case.get("logit_rows", np.arange(tokens.shape[1]))
    return logits[:, rows], case["valid"][:, rows]


@pytest.mark.parametrize("name", CASES)
def test_two_integers_a_token_express_the_mask(name: str) -> None:
    case = load_case(name)
    sample, branch = branches(case["attention_mask"], case["valid"])
    slot = torch.arange(sample.shape[1])
    rule = visible(
        sample[:, :, None], branch[:, :, None], slot[:, None], sample[:, None], branch[:, None], slot
    ).numpy()
    real = case["valid"][:, :, None]
    assert np.array_equal(rule & real, ~case["attention_mask"] & real)


@pytest.mark.parametrize("name", CASES)
def test_fp32_logits(reference: GLM, name: str) -> None:
    case = load_case(name)
    ours, valid = logits_and_rows(reference, case)
    assert np.abs(ours - case["logits_fp32"])[valid].max() < 1e-4


@pytest.mark.parametrize("name", CASES)
def test_fp32_logits_with_exact_rotary_frequencies(name: str) -> None:
    case = load_case(name)
    ours, valid = logits_and_rows(fixture_model("fp32"), case)
    assert np.abs(ours - case["logits_fp32_exact_rope"])[valid].max() < 1e-4


@pytest.fixture(scope="module")
def half() -> GLM:
    """The reference model computing in FP16."""
    return load_model(FIXTURES / "checkpoints" / "tp1", config=FIXTURE_CONFIG, dtype=torch.float16)


@pytest.mark.parametrize("against", ["logits_fp16", "logits_fp32"])
@pytest.mark.parametrize("name", [name for name in CASES if "logits_fp16" in load_case(name)])
def test_fp16_logits(half: GLM, name: str, against: str) -> None:
    case = load_case(name)
    ours, valid = logits_and_rows(half, case)
    difference = np.abs(ours.astype(np.float32) - case[against].astype(np.float32))[valid]
    assert difference.mean() < 0.02
    assert difference.max() < 0.25


def test_every_layer(reference: GLM) -> None:
    with np.load(FIXTURES / "debug_infill_mask.npz") as content:
        expected = dict(content)
    seen: dict[str, torch.Tensor] = {}
    hooks = []
    for n, layer in enumerate(reference.layers):
        for module, key in {
            layer.input_layernorm: "input_layernorm",
            layer.attention.query_key_value: "qkv",
            layer.attention: "attn_out",
            layer.post_attention_layernorm: "post_attention_layernorm",
            layer.mlp.dense_h_to_4h: "h_to_4h",
            layer.mlp: "mlp_out",
            layer: "out",
        }.items():

            def record(_m: Any, _i: Any, output: torch.Tensor, key: str = f"layer{n}.{key}") -> None:
                seen[key] = output

            hooks.append(module.register_forward_hook(record))
    logits_and_rows(reference, load_case("infill_mask"))
    for hook in hooks:
        hook.remove()
    assert len(seen) == 7 * len(reference.layers)
    for key, value in seen.items():
        assert np.abs(value.numpy() - expected[key]).max() < 1e-4, key


@pytest.mark.parametrize(("precision", "key"), [("fp16", "inv_freq_half_rounded"), ("fp32", "inv_freq_exact")])
def test_rotary_frequencies(precision: Any, key: str) -> None:
    with np.load(FIXTURES / "rope_tables.npz") as tables:
        ours = inverse_frequencies(16, 10000.0, precision)
        assert np.allclose(ours.numpy(), tables[key], rtol=1e-6, atol=0)
        if precision == "fp16":
            cos, sin = rotary_tables(torch.arange(128)[None], ours)
            assert np.abs(cos[0, :, 0].numpy() - tables["cos_fp32"][:, :8]).max() < 1e-5
            assert np.abs(sin[0, :, 0].numpy() - tables["sin_fp32"][:, :8]).max() < 1e-5
