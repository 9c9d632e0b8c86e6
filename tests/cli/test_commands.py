"""Every command on a tiny run, as a newcomer would use it."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

import glm130b
from glm130b.config import load_config
from glm130b.corpus import write_shard

pytestmark = pytest.mark.slow

Glm = Callable[..., object]


def steps(run: Path) -> list[int]:
    return [json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_train_leaves_a_run(trained: Path, recipe: Path) -> None:
    assert steps(trained) == [1, 2]
    assert [path.name for path in (trained / "checkpoints").iterdir()] == ["step-00000002"]
    assert load_config(trained / "config.yaml").run == load_config(recipe).run
    assert not [path for path in trained.rglob("*") if path.name.startswith(".partial-")]


def test_the_same_command_resumes(glm: Glm, run: Path, recipe: Path) -> None:
    more = glm("train", recipe, "--out", run, "--set", "train.max_steps=3")
    assert more.code == 0, more
    assert "resuming after step 2" in more.out
    assert steps(run) == [1, 2, 3]
    again = glm("train", recipe, "--out", run, "--set", "train.max_steps=3")
    assert again.code == 0
    assert steps(run) == [1, 2, 3]


def test_what_train_suggests_works(glm: Glm, recipe: Path, tmp_path: Path) -> None:
    out = tmp_path / "a run"
    done = glm("train", recipe, "--out", out, "--set", "train.max_steps=1")
    assert done.code == 0, done
    (suggested,) = re.findall(r"Try: glm (.*)", done.out)
    assert glm(*shlex.split(suggested), "--max-new-tokens", 2).code == 0


def test_fill(glm: Glm, trained: Path) -> None:
    filled = glm("fill", "One [MASK] and [gMASK]", "--model", trained, "--max-new-tokens", 3)
    assert filled.code == 0
    assert filled.out.startswith("One")
    assert "MASK]" not in filled.out
    answers = filled.err.splitlines()
    assert [line.split(" = ")[0] for line in answers] == ["[MASK]", "[gMASK]"]
    assert (
        filled.out == glm("fill", "-", "--model", trained, "--max-new-tokens", 3, stdin=b"One [MASK] and [gMASK]\n").out
    )


@pytest.mark.slow
def test_draws_follow_the_seed(glm: Glm, trained: Path) -> None:
    def drawn(*options: object) -> str:
        return glm("fill", "A [MASK]", "--model", trained, "--max-new-tokens", 8, *options).out

    assert drawn("--top-p", 0.9, "--seed", 1) == drawn("--top-p", 0.9, "--seed", 1)
    assert len({drawn("--temperature", 1, "--seed", seed) for seed in range(4)}) > 1
    assert len({drawn("--seed", seed) for seed in range(3)}) == 1
    assert drawn("--top-k", 5) != drawn()


def test_generate_prints_text_and_continuation_once(glm: Glm, trained: Path) -> None:
    made = glm("generate", "Some words", "--model", trained, "--max-new-tokens", 4)
    assert made.code == 0
    assert made.out.startswith("Some words")
    assert made.out.count("Some words") == 1
    assert made.out.endswith("\n")
    assert len(made.out.strip()) > len("Some words")


def test_heldout(glm: Glm, trained: Path, tmp_path: Path) -> None:
    full = glm("eval", "heldout", trained)
    losses = {name: float(loss) for name, loss in (line.split() for line in full.out.splitlines())}
    assert set(losses) == {"text/mask", "text/gmask", "all"}
    assert losses["all"] == pytest.approx((losses["text/mask"] + losses["text/gmask"]) / 2, abs=1e-4)
    assert glm("quantize", trained, tmp_path / "q").code == 0
    other = glm("eval", "heldout", trained, "--model", tmp_path / "q", "--sequences", 1)
    assert other.code == 0, other


def test_nothing_held_out(glm: Glm, run: Path) -> None:
    write_shard(run / "data" / "text" / "heldout", [], 16384)
    assert "Nothing is held out" in glm("eval", "heldout", run).out


def test_samples(glm: Glm, trained: Path, recipe: Path) -> None:
    shown = glm("samples", "show", recipe, "-n", 3, "--at", 5)
    assert shown.code == 0, shown
    assert re.findall(
        r"^sequence (\d+): (?:mask|gmask), text, piece \d+ of \d+ pieces, epoch \d+$", shown.out, re.M
    ) == [
        "5",
        "6",
        "7",
    ]
    assert glm("samples", "show", "--run", trained, "-n", 3, "-i", 5).out == shown.out


def test_config_show_is_a_configuration(glm: Glm, recipe: Path, tmp_path: Path) -> None:
    shown = glm("config", "show", recipe, "--set", "seed=5")
    assert shown.code == 0
    path = tmp_path / "c.yaml"
    path.write_text(shown.out)
    assert load_config(path).run == load_config(recipe, ["seed=5"]).run
    assert yaml.safe_load(shown.out)["seed"] == 5
    assert shown.out.splitlines()[-1] == "# 533,440 parameters, 1,000 sequences of 64"


def test_config_show_of_the_largest(glm: Glm) -> None:
    assert glm("config", "show", "130b").out.splitlines()[-1] == (
        "# 128,697,794,560 parameters, 219,726,562 sequences of 2048"
    )


def test_config_list_by_size(glm: Glm) -> None:
    lines = glm("config", "list").out.splitlines()
    assert [line.split()[0] for line in lines] == ["tiny", "small", "1b", "10b", "130b"]
    assert lines[-1].split()[1:] == ["128,697.8", "M", "parameters"]


def test_eval_list_says_which_data_are_there(glm: Glm, tmp_path: Path) -> None:
    e2e = tmp_path / "e2e_clean" / "cleaned-data"
    e2e.mkdir(parents=True)
    (e2e / "test-fixed.csv").touch()
    lines = glm("eval", "list", "quick", "e2e", "ptb", "--data", tmp_path).out.splitlines()
    found = {line.split()[0]: line for line in lines[1:]}
    assert all(line.endswith("1 file") for name, line in found.items() if name.startswith("quick/"))
    assert "missing: there is no" in found["ptb"]
    assert "devel-fixed.no-ol.csv" in found["e2e"], "of solved examples, which the task is run with"


def test_version(glm: Glm) -> None:
    assert glm("--version").out == f"glm130b {glm130b.__version__}\n"
