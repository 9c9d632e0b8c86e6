"""What the analysis says, of matrices and activations of which it is known."""

from __future__ import annotations

import json
import math
import re
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support import FIXTURE_CONFIG, FIXTURES, TINY

from glm130b.errors import ModelError
from glm130b.interop import Whole, open_model, read_sat
from glm130b.model import GLM, Bits, InMemory, build_model
from glm130b.quantization import (
    GRAINS,
    ActivationRecorder,
    Analysis,
    Grain,
    analyse_matrices,
    gaussian_null,
    matrix_names,
    write_analysis,
)
from glm130b.quantization.analyse_weights import HISTOGRAM_BINS, HISTOGRAM_EDGE, QUANTILES, analyse_matrix

NAME = "layers.3.mlp.dense_4h_to_h.weight"


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("width", "error"),
    [(32, 0.097), (128, 0.117), (768, 0.140), (2048, 0.150), (4096, 0.158), (12288, 0.168), (32768, 0.179)],
)
def test_the_null_is_what_was_measured(width: int, error: float) -> None:
    """By Monte Carlo, before this was written."""
    assert gaussian_null(width, 4).error == pytest.approx(error, rel=0.012)
    assert 0.005 < gaussian_null(width, 8).error < 0.0102


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize(("width", "rows"), [(16, 40000), (32, 20000), (512, 4000), (4096, 1000)])
def test_normal_weights_lose_what_the_null_says(width: int, rows: int, bits: Bits) -> None:
    """Through the quantiser itself; the tolerance is several standard errors over so many rows."""
    report = analyse_matrix(NAME, normal(rows, width) * 0.02, (bits,), (Grain(),))
    (loss,) = report.losses
    # The format rounds scales and quotients to FP16, which adds half a percent to what INT8 loses.
    assert loss.relative == pytest.approx(loss.gaussian, rel=0.006 if bits == 4 else 0.012)
    assert loss.gaussian == gaussian_null(width, bits).error
    assert report.peaks[len(QUANTILES) // 2] == pytest.approx(report.gaussian_peak, rel=0.05)


def test_groups_lose_what_rows_of_their_width_lose() -> None:
    report = analyse_matrix(NAME, normal(300, 4096), (4,), GRAINS)
    assert {(loss.grain, loss.width) for loss in report.losses} == {
        ("rows", 4096),
        ("rows of 8 ranks", 512),
        ("groups of 128", 128),
        ("groups of 64", 64),
        ("groups of 32", 32),
    }
    for loss in report.losses:
        assert loss.relative == pytest.approx(gaussian_null(loss.width, 4).error, rel=0.01)


@pytest.mark.parametrize(
    ("values", "kurtosis"),
    [
        (normal(1000, 500), 0.0),
        (torch.rand(1000, 500, generator=torch.Generator().manual_seed(1)), -1.2),
        (normal(1000, 500, seed=2).abs().pow(2) - normal(1000, 500, seed=3).abs().pow(2), 6.0),
    ],
    ids=["normal", "uniform", "difference of chi squares"],
)
def test_kurtosis_of_known_distributions(values: torch.Tensor, kurtosis: float) -> None:
    report = analyse_matrix(NAME, values, (4,), (Grain(),))
    assert report.kurtosis == pytest.approx(kurtosis, abs=0.35 if kurtosis > 1 else 0.03)
    exact = values.double()
    centred = exact - exact.mean()
    slow = float(centred.pow(4).mean() / centred.square().mean() ** 2 - 3)
    assert report.kurtosis == pytest.approx(slow, abs=1e-9)
    by_row = exact / exact.square().mean(dim=1, keepdim=True).sqrt()
    assert report.row_kurtosis == pytest.approx(float(by_row.pow(4).mean() - 3), abs=1e-9)


def test_rows_of_unequal_size_have_kurtosis_together_and_none_alone() -> None:
    report = analyse_matrix(NAME, normal(400, 1000) * torch.linspace(0.1, 2, 400)[:, None], (4,), (Grain(),))
    assert report.kurtosis > 1
    assert report.row_kurtosis == pytest.approx(-6 / 1002, abs=0.03)


@given(st.integers(1, 40), st.integers(1, 6), st.sampled_from([8, 4]), st.integers(0, 9))
@settings(max_examples=30, deadline=None)
def test_errors_are_those_of_a_loop(rows: int, groups: int, bits: Bits, seed: int) -> None:
    weight = normal(rows, groups * 32, seed=seed)
    weight[rows // 2] = 0
    (loss,) = analyse_matrix(NAME, weight, (bits,), (Grain(32),)).losses
    largest = {8: 127, 4: 7}[bits]
    lost, there, by_row = 0.0, 0.0, []
    for row in weight.half().double():
        row_lost = 0.0
        for group in row.split(32):
            scale = float((group.abs().max() / largest).half())
            for value in group.tolist():
                step = round(float(torch.tensor(value / scale).half())) if scale else 0
                row_lost += (float(torch.tensor(step * scale).half()) - value) ** 2
        whole = float(row.square().sum())
        lost, there = lost + row_lost, there + whole
        by_row.append(math.sqrt(row_lost / whole) if whole else 0.0)
    # Beside the loop, the weights' own rounding to FP16 counts as lost: up to 5e-4 of each.
    assert loss.relative == pytest.approx(math.sqrt(lost / there) if there else 0.0, rel=0.02)
    assert loss.rows[0] == 0
    assert loss.rows[-1] == pytest.approx(max(by_row), rel=0.03)


def test_the_histogram_counts_every_weight() -> None:
    weight = normal(100, 64)
    weight[3, 5], weight[7, 1] = 1e3, -1e3
    report = analyse_matrix(NAME, weight, (4,), (Grain(),))
    scaled = (weight.double() - report.mean) / report.std
    edges = torch.linspace(-HISTOGRAM_EDGE, HISTOGRAM_EDGE, HISTOGRAM_BINS + 1, dtype=torch.float64)
    slow = [int(((scaled >= low) & (scaled < high)).sum()) for low, high in pairwise(edges)]
    assert report.histogram == slow
    assert report.outside == 2
    assert report.largest == 1e3


def test_matrices_of_official_files() -> None:
    opened = open_model(FIXTURES / "checkpoints" / "tp2", FIXTURE_CONFIG)
    source = Whole(opened.ranks)
    found = list(analyse_matrices(source))
    whole = read_sat(FIXTURES / "checkpoints" / "tp1", FIXTURE_CONFIG)
    assert [report.name for report in found] == matrix_names(source)
    assert len(found) == 4 * opened.config.num_layers
    for report in found:
        weight = whole[report.name].double()
        assert (report.rows, report.columns) == tuple(weight.shape)
        assert report.std == pytest.approx(float(weight.std(correction=0)))


def test_quantised_weights_are_refused() -> None:
    source = Whole(open_model(FIXTURES / "checkpoints" / "tp1-int4", FIXTURE_CONFIG).ranks)
    with pytest.raises(ModelError, match=r"layers\.0\.\S+ is quantised already"):
        list(analyse_matrices(source))


def test_weights_beyond_half_precision_are_refused_by_name() -> None:
    state = build_model(TINY, seed=0).state_dict()
    state["layers.1.mlp.dense_4h_to_h.weight"][0, 0] = 1e6
    with pytest.raises(ModelError, match=r"layers\.1\.mlp\.dense_4h_to_h\.weight cannot be analysed: .* FP16"):
        list(analyse_matrices(InMemory(state)))


def read_something(model: GLM) -> None:
    tokens = torch.randint(3, 60, (2, 40), generator=torch.Generator().manual_seed(0))
    positions = torch.arange(40).expand(2, 40)
    with torch.inference_mode():
        model.hidden_states(tokens[:1], positions[:1], tokens[:1] * 0, tokens[:1] * 0)
        model.hidden_states(tokens[1:], positions[1:], tokens[1:] * 0, tokens[1:] * 0)


def test_a_planted_outlier_is_found_by_name_and_index() -> None:
    model = build_model(TINY, seed=1)
    model.layers[1].get_parameter("input_layernorm.weight").data[17] = 40
    model.layers[2].get_parameter("mlp.dense_h_to_4h.weight").data[[5, TINY.ffn_size + 5]] *= 30
    with ActivationRecorder(model) as recorder:
        read_something(model)
    reports = {report.name: report for report in recorder.reports()}
    assert len(reports) == 4 * TINY.num_layers
    assert all(report.tokens == 80 for report in reports.values())
    planted = reports["layers.1.attention.query_key_value"]
    assert planted.outliers[0].dimension == 17
    assert planted.outliers[0].ratio > 20
    assert planted.share_above_median == 1 / TINY.hidden_size
    assert reports["layers.2.mlp.dense_4h_to_h"].outliers[0].dimension == 5
    assert reports["layers.0.attention.query_key_value"].share_above_median == 0
    analysis = Analysis("model", [], list(reports.values()))
    named = [(report.name, outlier.dimension) for report, outlier in analysis.outliers()[:2]]
    assert sorted(named) == [("layers.1.attention.query_key_value", 17), ("layers.2.mlp.dense_4h_to_h", 5)]


def test_what_is_recorded_is_the_largest_of_every_dimension() -> None:
    model = build_model(TINY, seed=1)
    seen: list[torch.Tensor] = []
    module = model.layers[2].get_submodule("mlp.dense_4h_to_h")
    handle = module.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0].flatten(0, -2)))
    with ActivationRecorder(model) as recorder:
        read_something(model)
    handle.remove()
    read_something(model)  # not recorded any more
    (report,) = [report for report in recorder.reports() if report.name == "layers.2.mlp.dense_4h_to_h"]
    largest = torch.cat(seen).abs().amax(dim=0)
    assert report.dimensions == len(largest) == TINY.ffn_size
    assert report.outliers[0].largest == pytest.approx(float(largest.max()))
    assert report.median == pytest.approx(float(largest.median()))
    assert report.curve[0] == pytest.approx(float(largest.min() / largest.median()))
    assert report.curve[-1] == pytest.approx(report.outliers[0].ratio)
    assert report.share_above_magnitude == float((largest >= 6).float().mean())


def test_both_files_are_written_and_say_the_same(tmp_path: Path) -> None:
    model = build_model(TINY, seed=1)
    with ActivationRecorder(model) as recorder:
        read_something(model)
    matrices = list(analyse_matrices(InMemory(model.state_dict())))
    analysis = Analysis("a <model>", matrices, recorder.reports(), "some text")
    written, page = write_analysis(analysis, tmp_path / "out")
    content = json.loads(written.read_text())
    assert [matrix["name"] for matrix in content["matrices"]] == [matrix.name for matrix in matrices]
    assert content["matrices"][0]["losses"][0]["relative"] == matrices[0].losses[0].relative
    assert len(content["activations"]) == len(matrices)
    html = page.read_text()
    assert "a &lt;model&gt;" in html
    assert html.count("<svg") == 6
    assert "http" not in re.sub(r"<html[^>]*>", "", html)
    kind = analysis.kinds()[0]
    assert f"{kind.losses[4, 'rows'].relative:.4f}" in html
    outlier = analysis.outliers()[0][1]
    assert f'<td class="n">{outlier.dimension}</td>' in html


def test_without_a_text_the_page_says_so(tmp_path: Path) -> None:
    matrices = list(analyse_matrices(InMemory(build_model(TINY, seed=1).state_dict()), bits=(8,), grains=[Grain(32)]))
    html = write_analysis(Analysis("model", matrices), tmp_path)[1].read_text()
    assert "No text was given to read." in html
    assert "INT8, groups of 32" in html
