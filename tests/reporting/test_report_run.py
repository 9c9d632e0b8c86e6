"""What a run says of itself: mixture, sessions, curves, and which of its checkpoints was measured."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest
import torch
from made_results import MODEL, task_of, write
from support import small_config

from glm130b.config import MipConfig, load_config
from glm130b.corpus import PreparedCorpus, open_prepared, prepare
from glm130b.errors import ConfigError, ModelError
from glm130b.evaluation import weights_digest
from glm130b.instructions import build
from glm130b.reporting import gather, read_run
from glm130b.reporting.page import page
from glm130b.samples import open_training_data, sample_number
from glm130b.tokenization import Tokenizer
from glm130b.training import latest_checkpoint, train

pytestmark = pytest.mark.slow

SKIP = "[[5, 9], [30, 40]]"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mip")
    entity = [{"start": 0, "end": 3, "type": "person"}]
    lines = [json.dumps({"text": f"Ada wrote letter {n} to the town.", "entities": entity}) for n in range(20)]
    (folder / "data.jsonl").write_text("\n".join(lines))
    dataset = {"path": str(folder / "data.jsonl"), "task": "ner", "evaluates": ["boolq"], "license": "CC0-1.0"}
    build(MipConfig.model_validate({"datasets": {"letters": dataset}}), folder / "store")
    return folder / "store"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tokenizer: Tokenizer, store: Path) -> Path:
    """Two sessions of four steps each, with instructions, a phase and skipped stretches."""
    out = tmp_path_factory.mktemp("runs") / "first"
    for steps, rate in ((4, "3e-3"), (8, "2e-3")):
        config = small_config(
            f"data.instructions={{mip: {{path: '{store}'}}}}",
            "objective.instruction_share=20%",
            "data.phases=[{start: 12 samples, ramp: 6 samples, weights: {chinese: 3}}]",
            f"data.skip={SKIP}",
            f"train.learning_rate.peak={rate}",
            f"train.max_steps={steps}",
            "checkpoint.every_steps=4",
        )
        corpus: PreparedCorpus = prepare(config.run.data, tokenizer, out / "data")
        train(config, out, tokenizer, corpus, device=torch.device("cpu"), resume=latest_checkpoint(out))
    return out


def results_of(folder: Path, checkpoint: Path, run: Path | None, path: Path | None = None) -> Path:
    facts = {"path": str(path or checkpoint), "weights": weights_digest(checkpoint, folder)}
    write(folder, [task_of("one", (0.5,))], model=MODEL.model_copy(update={**facts, "run": str(run) if run else None}))
    return folder


@pytest.mark.parametrize("step", [4, 8])
def test_the_mixture_is_what_was_drawn(trained: Path, tokenizer: Tokenizer, step: int) -> None:
    facts = read_run(trained, trained / "checkpoints" / f"step-{step:08d}")
    config = load_config(trained / "config.yaml").run
    corpus = open_prepared(trained / "data", list(config.data.active_sources))
    stream = open_training_data(config, corpus, tokenizer).stream
    origins = [stream.origin(sample_number(n, config.data.skip)) for n in range(facts.sequences)]
    counted = Counter(origin.source for origin in origins)
    assert facts.sequences == 4 * step
    assert {row.name: row.sequences for row in facts.mixture} == {
        name: counted[name] for name in ("english", "chinese", "mip")
    }
    for row in facts.mixture:
        parts = sum(len(origin.parts) for origin in origins if origin.source == row.name)
        assert row.epochs == pytest.approx(parts / stream.pieces[row.name])
        assert row.share == row.sequences / facts.sequences
        assert row.tokens == row.sequences * 64
    assert facts.phases == (0, 12)
    planned = {row.name: row.planned for row in facts.mixture}
    assert planned == {"english": (0.4, 0.2), "chinese": (0.4, pytest.approx(0.6)), "mip": (0.2, 0.2)}


def test_the_training_is_complete(trained: Path) -> None:
    facts = read_run(trained)
    training = facts.training
    state = json.loads((trained / "checkpoints" / "step-00000008" / "training_state.json").read_text())
    assert (facts.step, training.tokens, training.seed, training.precision) == (8, 32 * 64, 1234, "fp32")
    assert isinstance(training.data, tuple)
    assert {source.name: source.sha256 for source in training.data} == state["data_fingerprints"]
    assert isinstance(training.hyperparameters, dict)
    assert training.hyperparameters["train.learning_rate.peak"] == 2e-3
    assert training.hours == pytest.approx(sum(one.seconds for one in facts.sessions) / 3600)
    assert [one.changes for one in facts.sessions][1]["train.learning_rate.peak"] == (3e-3, 2e-3)
    assert [record["step"] for record in facts.records] == [*range(1, 9)]
    (row,) = facts.instructed
    assert (row.store, row.name, row.licence) == ("mip", "letters", "CC0-1.0")
    assert row.examples > 0
    assert "boolq" in row.spoils


def test_instruction_data_may_have_been_moved(trained: Path, store: Path, tmp_path: Path) -> None:
    """What was consumed follows from the run alone; only how large the data were is no longer known."""
    before = read_run(trained)
    moved = store.rename(tmp_path / "away")
    try:
        after = read_run(trained)
    finally:
        moved.rename(store)
    assert [row.sequences for row in after.mixture] == [row.sequences for row in before.mixture]
    assert [row.sha256 for row in after.mixture] == [row.sha256 for row in before.mixture]
    assert after.mixture[-1].epochs is None
    assert after.instructed == ()


@pytest.mark.parametrize("step", [4, 8])
def test_the_measured_checkpoint_counts(trained: Path, tmp_path: Path, step: int) -> None:
    """Results of a run are of its newest checkpoint then, which later ones may have followed."""
    checkpoint = trained / "checkpoints" / f"step-{step:08d}"
    report = gather(results_of(tmp_path, checkpoint, trained, path=trained), watts=100)
    assert report.run is not None
    assert (report.run.step, report.is_checkpoint) == (step, True)
    text = page(report)
    assert f"first, step {step}: {4 * step} sequences" in text
    for part in ("Mixture, planned and consumed", "mip/letters", "train.learning_rate.peak: 0.003 → 0.002", "polyline"):
        assert part in text


def test_a_model_made_from_a_checkpoint(trained: Path, tmp_path: Path) -> None:
    other = write_other(tmp_path, trained)
    results = results_of(tmp_path / "eval", other, None)
    with pytest.raises(ConfigError, match=r"would lack training\.code"):
        gather(results, energy="1")
    report = gather(results, energy="1", run=trained)
    assert report.run is not None
    assert (report.run.step, report.is_checkpoint) == (8, False)
    assert "none of the checkpoints that this run has now" in page(report)


def write_other(folder: Path, run: Path) -> Path:
    """A copy of a checkpoint whose weights have another digest."""
    shutil.copytree(run / "checkpoints" / "step-00000004", folder / "copy")
    (weights,) = (folder / "copy").glob("model-*.safetensors")
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    return folder / "copy"


def test_a_run_that_has_saved_nothing(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained, tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints"))
    with pytest.raises(ModelError, match="has no checkpoint"):
        read_run(tmp_path / "run")


def test_a_run_that_is_not_there_any_more(trained: Path, tmp_path: Path) -> None:
    checkpoint = trained / "checkpoints" / "step-00000008"
    results = results_of(tmp_path, checkpoint, tmp_path / "gone")
    with pytest.raises(ConfigError, match=r"would lack training\.code") as caught:
        gather(results, energy="1")
    assert "--run" in caught.value.next_step
