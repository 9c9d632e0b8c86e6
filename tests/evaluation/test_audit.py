"""The audit of the published tables, its rules against slow obvious versions, and files of a user's own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from hypothesis import given
from hypothesis import strategies as st
from real_data import REAL, needs_real
from typer.testing import CliRunner

from glm130b.cli.audit import audit as command
from glm130b.errors import ConfigError
from glm130b.evaluation.audit import PAPER, Finding, audit, read_document
from glm130b.evaluation.audit.formula import evaluate, names_in
from glm130b.evaluation.audit.published import chance_of_whole, half_unit, is_whole, mean, range_of

PAPER_DOCUMENT = read_document(PAPER)
TABLES = PAPER_DOCUMENT.tables
FINDINGS = {finding.claim: finding for finding in audit(PAPER_DOCUMENT)}
RUNNER = CliRunner()


def finding(beginning: str) -> Finding:
    (found,) = [one for claim, one in FINDINGS.items() if claim.startswith(beginning)]
    return found


@pytest.mark.parametrize(("system", "published"), [("GLM-130B", 0.634), ("Jurassic-1", 0.650), ("GPT-3", 0.742)])
def test_the_pile_average_follows_from_its_cells(system: str, published: float) -> None:
    table = TABLES["pile"]
    assert round(mean(table.column(system), table.weights), 3) == published
    assert finding(f"{system}'s bits per byte").status == "holds"


@pytest.mark.parametrize(("table", "ours", "theirs"), [("clue", 73.87, 49.63), ("fewclue", 82.26, 69.52)])
def test_the_chinese_means(table: str, ours: float, theirs: float) -> None:
    columns = [TABLES[table].column(name) for name in ("GLM-130B", "ERNIE Titan 3.0")]
    assert [round(mean(column), 2) for column in columns] == [ours, theirs]
    assert finding("GLM-130B leads ERNIE by " + ("24.26" if table == "clue" else "12.75")).status == "holds"


def test_stereoset_cells_fit_their_formula() -> None:
    table = TABLES["stereoset"]
    for row in table.rows:
        score, stereotype, icat = (table.column(name)[row] for name in ("LMS", "SS", "ICAT"))
        assert score * min(stereotype, 100 - stereotype) / 50 == pytest.approx(icat, abs=0.15)
    assert finding("StereoSet's ICAT").status == "holds"
    assert "15 of 15" in finding("StereoSet's ICAT").recomputed


@pytest.mark.parametrize(
    ("claim", "status", "recomputed"),
    [
        ("CrowS-Pairs overall is the same average", "does not hold", "over items 62.64 and over rows 65.84"),
        ("CrowS-Pairs overall is the same average", "does not hold", "over items 67.16"),
        ("CrowS-Pairs overall is the same average", "does not hold", "over items 69.51"),
        ("MMLU of GLM-130B in FP16", "does not hold", "44.7098; 6278 of 14042"),
        ("The same table gives the INT8 figure", "holds", "6278 of 14042"),
        ("MMLU: GLM-130B is better than GPT-3", "does not hold", "z = 1.53, p = 0.13"),
        ("BIG-bench-lite, GLM 0-shot", "holds", "13.306"),
        ("BIG-bench-lite, GLM 1-shot", "does not hold", "15.117"),
        ("BIG-bench-lite, GLM 3-shot", "does not hold", "15.000"),
        ("BIG-bench-lite, GPT-3 0-shot", "holds", "4.351"),
        ("BIG-bench-lite, GPT-3 1-shot", "holds", "11.342"),
        ("BIG-bench-lite, GPT-3 3-shot", "holds", "13.179"),
        ("BIG-bench-lite, PaLM 0-shot", "does not hold", "8.237"),
        ("BIG-bench-lite, PaLM 1-shot", "does not hold", "39.290"),
        ("ERNIE's figures for CLUE", "does not hold", "81.1, but 246/304 is 80.92 and 247/304 is 81.25"),
        ("EPRSTMT: GLM-130B is better", "does not hold", "148 and 142 of 160: unpaired z = 1.15, p = 0.25"),
        ("CHID-FC: GLM-130B is better", "does not hold", "182 and 176 of 202: unpaired z = 0.94, p = 0.35"),
        ("AFQMC: GLM-130B is better", "holds", "p = 0.026"),
        ("AFQMC: the median wording", "does not hold", "p = 0.36"),
        ("ERNIE's 69.0 on AFQMC", "does not hold", "the commonest answer 2978, 69.00"),
        ("LAMBADA: INT4 is no worse", "cannot be checked", "p = 0.35"),
        ("36 % of the instruction samples", "does not hold", "411.99"),
        ("On DRCD GLM-130B is at least 260 % better", "does not hold", "161.36"),
        ("StereoSet's LMS is the official one", "cannot be checked", "single examples"),
        ("Every evaluation is a script", "cannot be checked", "no runner"),
        ("74 datasets", "cannot be checked", "70 lines"),
        ("OCNLI counts labelled items only", "does not hold", "0 of 1"),
        ("GLM-130B's figures for FewCLUE", "holds", "5 of 5"),
        ("ERNIE Titan 3.0's figures for FewCLUE", "holds", "5 of 5"),
        ("Training emitted 257 t", "holds", "257.03"),
    ],
)
def test_what_does_not_add_up(claim: str, status: str, recomputed: str) -> None:
    assert finding(claim).status == status
    assert recomputed in finding(claim).recomputed


def test_the_sizes_are_those_of_the_sets() -> None:
    assert sum(TABLES["mmlu"].sizes.values()) == 14_042
    assert (len(TABLES["mmlu"].rows), len(TABLES["bigbench_lite"].rows), len(TABLES["pile"].rows)) == (57, 24, 18)
    assert sum(TABLES["crows_pairs"].sizes.values()) == 1508


@needs_real
def test_the_sizes_are_those_of_the_files() -> None:
    assert len((REAL / "clue/afqmc_public/dev.json").read_text(encoding="utf-8").splitlines()) == 4316
    labels = [json.loads(line)["label"] for line in (REAL / "clue/afqmc_public/dev.json").open(encoding="utf-8")]
    assert labels.count("0") == 2978


@given(st.integers(1, 400), st.integers(0, 10_000), st.sampled_from([1, 2]))
def test_whole_counts_are_those_that_are_printed_so(size: int, drawn: int, decimals: int) -> None:
    """Rounded or cut off, by trying every count in whole numbers."""
    unit = 10**decimals
    printed = {100 * count * unit // size for count in range(size + 1)}
    printed |= {-(-(200 * count * unit - size) // (2 * size)) for count in range(size + 1)}
    printed |= {(200 * count * unit + size) // (2 * size) for count in range(size + 1)}
    wanted = drawn * unit // 100
    assert is_whole(wanted / unit, size, decimals) == (wanted in printed)
    assert chance_of_whole(size, decimals) == len(printed) / (100 * unit + 1)


def test_large_sets_fit_any_percentage() -> None:
    assert chance_of_whole(2000, 1) == 1
    assert chance_of_whole(160, 1) < 0.35


@given(st.floats(-50, 50), st.floats(1, 50), st.floats(0, 0.5))
def test_ranges_hold_what_lies_inside(a: float, b: float, slack: float) -> None:
    low, high = range_of("a / b - 2 * a", {"a": a, "b": b}, slack)
    for left in (-slack, 0, slack / 3, slack):
        for right in (-slack, 0, slack / 2, slack):
            value = (a + left) / (b + right) - 2 * (a + left)
            assert low - 1e-9 <= value <= high + 1e-9


def test_printed_numbers_may_be_half_a_unit_off() -> None:
    assert half_unit(1) == pytest.approx(0.05)
    assert half_unit(0) == 0.5


def test_formulas() -> None:
    assert evaluate("-(a + 2) * min(b, 100 - b) / 50", {"a": 8, "b": 60}) == -8
    assert evaluate("max(1, abs(0 - 7), 3)", {}) == 7
    assert names_in("LMS * min(SS, 100 - SS)") == ["LMS", "SS"]
    for bad in ("a ** b", "a if b else c", "__import__('os')", "a.b", "pow(a, b)", "'a' + 'b'", "a <", "True", "min()"):
        with pytest.raises(ValueError, match=r"formula|arithmetic"):
            evaluate(bad, {"a": 1, "b": 2, "c": 3})
    with pytest.raises(ValueError, match="divides by zero"):
        evaluate("1 / a", {"a": 0})


OWN: dict[str, Any] = {
    "schema": "glm-audit/v1",
    "title": "A paper",
    "tables": {
        "main": {
            "source": "Table 1",
            "columns": ["A", "B"],
            "rows": {"task": [50.0, 40.0], "other": [60.0, None]},
            "sizes": {"task": 10, "other": 30},
        }
    },
    "checks": [
        {"claim": "mean", "rule": "mean", "table": "main", "column": "A", "published": 55.0},
        {"claim": "weighted", "rule": "mean", "table": "main", "column": "A", "weighted": True, "published": 57.5},
        {"claim": "lead", "rule": "difference", "table": "main", "column": "A", "than": "B"},
        {"claim": "whole", "rule": "whole_count", "table": "main", "column": "A"},
        {"claim": "ten more", "rule": "cells", "table": "main", "column": "A", "formula": "B + 10"},
    ],
}


def own(tmp_path: Path, **changes: Any) -> Path:
    file = tmp_path / "own.yaml"
    file.write_text(yaml.safe_dump(OWN | changes), encoding="utf-8")
    return file


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    found = {one.claim: one for one in audit(read_document(own(tmp_path)))}
    assert {claim: one.status for claim, one in found.items()} == {
        "mean": "holds",
        "weighted": "holds",
        "task: lead": "does not hold",
        "whole": "holds",
        "ten more": "holds",
    }
    assert "5 and 4 of 10" in found["task: lead"].recomputed
    assert found["mean"].source == "Table 1"
    assert "1 of 1 rows" in found["ten more"].recomputed


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"schema": "other"}, "schema"),
        ({"checks": []}, "checks"),
        ({"checks": [{"claim": "x", "rule": "guess"}]}, "rule"),
        ({"checks": [OWN["checks"][0] | {"table": "none"}]}, "'mean' is about table none"),
        ({"checks": [OWN["checks"][0] | {"column": "C"}]}, "'mean' needs column C of table main"),
        ({"checks": [OWN["checks"][0] | {"rows": ["third"]}]}, "'mean' needs row third"),
        ({"checks": [OWN["checks"][2] | {"rows": ["other"], "column": "B"}]}, "finds no cell in column B"),
        ({"checks": [OWN["checks"][4] | {"formula": "B ** 2"}]}, "more than arithmetic"),
        (
            {"checks": [{"claim": "x", "rule": "arithmetic", "formula": "a", "published": 1, "decimals": 0}]},
            "value for a",
        ),
        (
            {"tables": {"main": OWN["tables"]["main"] | {"rows": {"task": [1.0]}, "sizes": {}}}},
            "row task has 1 cells for 2",
        ),
        ({"tables": {"main": OWN["tables"]["main"] | {"sizes": {"x": 1}}}}, "there is no row x"),
        (
            {"tables": {"main": OWN["tables"]["main"] | {"sizes": {"task": 10}}}},
            "needs the size or weight of row other",
        ),
    ],
)
def test_a_file_that_is_wrong_is_told_where(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigError, match=r"own\.yaml cannot be audited") as error:
        read_document(own(tmp_path, **changes))
    assert reason in error.value.problem
    assert "--help" in error.value.next_step


def test_what_cannot_be_recomputed(tmp_path: Path) -> None:
    by_zero = {"claim": "x", "rule": "arithmetic", "formula": "1 / (2 - 2)", "published": 1, "decimals": 0}
    with pytest.raises(ConfigError, match=r"'x' cannot be recomputed: .* divides by zero"):
        audit(read_document(own(tmp_path, checks=[by_zero])))
    table = OWN["tables"]["main"] | {"rows": {"task": [150.0, 40.0], "other": [60.0, None]}}
    with pytest.raises(ConfigError, match=r"'lead' cannot be recomputed: no share of 15 in 10"):
        audit(read_document(own(tmp_path, tables={"main": table}, checks=[OWN["checks"][2]])))


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none.yaml cannot be read: No such file"):
        read_document(tmp_path / "none.yaml")
    (tmp_path / "bad.yaml").write_text("a: [1,\nb: 2", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"bad.yaml, line \d: this is not YAML"):
        read_document(tmp_path / "bad.yaml")
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(ConfigError, match="it is not UTF-8"):
        read_document(tmp_path / "bytes.yaml")


def shown(*arguments: str) -> str:
    app = typer.Typer(rich_markup_mode=None)
    app.command()(command)
    result = RUNNER.invoke(app, list(arguments))
    assert result.exit_code == 0, result.output
    return result.output


def test_the_command_prints_every_finding() -> None:
    text = shown()
    assert text.count("\nholds: ") == sum(one.status == "holds" for one in audit(PAPER_DOCUMENT))
    assert "does not hold: CrowS-Pairs overall is the same average" in text
    assert "Cannot be checked: 7." in text.splitlines()[-1]
    assert max(map(len, text.splitlines())) <= 120


def test_the_command_prints_json(tmp_path: Path) -> None:
    tree = json.loads(shown(str(own(tmp_path)), "--json"))
    assert tree["counts"] == {"holds": 4, "does not hold": 1, "cannot be checked": 0}
    assert tree["findings"][2]["claim"] == "task: lead"


def test_the_example_of_the_help_is_an_audit(tmp_path: Path) -> None:
    text = (command.__doc__ or "").split("A file of your own:\n")[1].split("\n\n")[0]
    file = tmp_path / "example.yaml"
    file.write_text(text.replace("\n      ", "\n").removeprefix("      "), encoding="utf-8")
    (found,) = audit(read_document(file))
    assert (found.claim, found.status) == ("task: A leads", "holds")
