"""Choices and windows against the authors' scores."""

from __future__ import annotations

import math
from copy import deepcopy

import numpy as np
import pytest
from support import MANIFEST, SPECIAL

from glm130b.errors import DataError
from glm130b.inference import (
    choice_item,
    choice_log_probs,
    language_model_windows,
    official_perplexity,
    perplexity,
    window_loss,
)
from glm130b.model import GLM


@pytest.mark.parametrize("name", [name for name in MANIFEST if name.startswith("mc_")])
def test_choices(reference: GLM, name: str) -> None:
    case = MANIFEST[name]
    for n, given in enumerate(case["items"]):
        item = choice_item(
            given["inputs"], given["choices"], SPECIAL, single_token=case["is_single_token"], **case["config"]
        )
        scores = choice_log_probs(reference, item)
        assert scores == pytest.approx(case["cond_log_prob"][n], abs=3e-4)
        assert np.argmax(scores) == case["argmax"][n]


@pytest.mark.parametrize("name", [name for name in MANIFEST if name.startswith("lm_")])
def test_windows(reference: GLM, name: str) -> None:
    case = MANIFEST[name]
    window = language_model_windows(case["document"], SPECIAL, **case["config"])[case["window"]]
    assert window_loss(reference, window) == pytest.approx(case["loss_sum"][0], abs=1e-3)


def test_fp16_networks_are_scored_in_fp32(reference: GLM) -> None:
    """Nearer to the FP32 network's scores than FP16, in steps of 2^-6 here, could write them."""
    network = deepcopy(reference).half()
    case = MANIFEST["mc_multi_mask"]
    for n, given in enumerate(case["items"]):
        scores = choice_log_probs(network, choice_item(given["inputs"], given["choices"], SPECIAL, single_token=False))
        assert scores == pytest.approx(case["cond_log_prob"][n], abs=0.1)
        assert any(score != float(np.float16(score)) for score in scores)


def test_rows_of_logits_are_computed_in_parts(reference: GLM, monkeypatch: pytest.MonkeyPatch) -> None:
    case = MANIFEST["lm_window0"]
    (window, *_) = language_model_windows(case["document"], SPECIAL, **case["config"])
    monkeypatch.setattr("glm130b.inference.scoring._LOGITS_ROWS", 7)
    assert window_loss(reference, window) == pytest.approx(case["loss_sum"][0], abs=1e-3)


def test_perplexities() -> None:
    assert perplexity(8 * math.log(5), 8) == pytest.approx(5)
    assert official_perplexity(6.0, " two  words\n") == pytest.approx(math.exp(2))  # the empty word between counts
    assert official_perplexity(1e6, "word") == pytest.approx(math.exp(20))


def test_fp16_windows_are_scored_in_fp32(reference: GLM) -> None:
    network = deepcopy(reference).half()
    case = MANIFEST["lm_window2"]
    window = language_model_windows(case["document"], SPECIAL, **case["config"])[case["window"]]
    loss = window_loss(network, window)
    assert loss == pytest.approx(case["loss_sum"][0], abs=0.5)
    assert loss != float(np.float16(loss))


@pytest.mark.parametrize("token", [-1, 512])
def test_choices_of_another_vocabulary(reference: GLM, token: int) -> None:
    with pytest.raises(DataError, match="an id outside 0 to 511"):
        choice_log_probs(reference, choice_item([9, 10], [[11, token]], SPECIAL, single_token=False))


def test_perplexity_beyond_floats() -> None:
    assert perplexity(1e6, 1) == math.inf
    assert perplexity(700.0, 1) == math.exp(700)
