"""Resuming from an older checkpoint, and from damaged ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from support import small_config

from glm130b.config import MergedConfig
from glm130b.corpus import PreparedCorpus
from glm130b.errors import GLMError, ModelError, ResourceError
from glm130b.model import checkpoints
from glm130b.tokenization import Tokenizer
from glm130b.training import Outcome, choose_checkpoint, latest_checkpoint, read_metrics, train
from glm130b.training import trainer as trainer_module
from glm130b.training.metrics import MetricsLog

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")


@pytest.fixture
def finished(tmp_path: Path, tokenizer: Tokenizer, corpus: PreparedCorpus) -> Path:
    """A run of 9 steps with checkpoints at 3, 6 and 9."""
    go(tmp_path, tokenizer, corpus, small_config("train.max_steps=9", "checkpoint.keep=3"))
    return tmp_path


def go(run: Path, tokenizer: Tokenizer, corpus: PreparedCorpus, config: MergedConfig, **options: Any) -> Outcome:
    return train(config, run, tokenizer, corpus, device=CPU, **options)


def test_going_back_gives_up_what_came_after(finished: Path, tokenizer: Tokenizer, corpus: PreparedCorpus) -> None:
    before = read_metrics(finished / "metrics.jsonl")
    chosen = choose_checkpoint(finished, str(finished / "checkpoints" / "step-00000003"))
    config = small_config("train.max_steps=5", "checkpoint.keep=1", "train.learning_rate.peak=1e-3")
    outcome = go(finished, tokenizer, corpus, config, resume=chosen)
    assert outcome.checkpoint == finished / "checkpoints" / "step-00000005"
    assert checkpoints(finished) == [outcome.checkpoint]
    after = read_metrics(finished / "metrics.jsonl")
    assert [record["step"] for record in after] == [1, 2, 3, 4, 5]
    assert [record["loss"] for record in after[:4]] == [record["loss"] for record in before[:4]]
    assert after[4]["loss"] != before[4]["loss"]
    assert choose_checkpoint(finished, "auto") == outcome.checkpoint


def test_a_finished_run_started_again_does_nothing(
    finished: Path, tokenizer: Tokenizer, corpus: PreparedCorpus
) -> None:
    newest = latest_checkpoint(finished)
    before = (finished / "metrics.jsonl").read_bytes()
    config = small_config("train.max_steps=9", "checkpoint.keep=3")
    outcome = go(finished, tokenizer, corpus, config, resume=newest)
    assert outcome.checkpoint == newest
    assert (finished / "metrics.jsonl").read_bytes() == before


def test_another_runs_checkpoint_is_refused_where_there_are_own(finished: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / "step-00000003"
    other.mkdir(parents=True)
    (other / "training_state.json").write_text("{}")
    with pytest.raises(ModelError, match="has checkpoints of its own"):
        choose_checkpoint(finished, str(other))


def lose_a_tensor(path: Path) -> str:
    index = json.loads((path / "model.safetensors.index.json").read_text())
    del index["weight_map"]["word_embeddings.weight"]
    del index["tensor_sha256"]["word_embeddings.weight"]
    (path / "model.safetensors.index.json").write_text(json.dumps(index))
    return r"lacks word_embeddings.weight \(1 tensors in all\)"


def empty_state(path: Path) -> str:
    (path / "training_state.json").write_text("{}")
    return "training_state.json is damaged"


def empty_index(path: Path) -> str:
    (path / "model.safetensors.index.json").write_text("{}")
    return "is not an index of weights"


@pytest.mark.parametrize("damage", [lose_a_tensor, empty_state, empty_index])
def test_damaged_checkpoints_are_named(
    finished: Path, tokenizer: Tokenizer, corpus: PreparedCorpus, damage: Any
) -> None:
    newest = latest_checkpoint(finished)
    assert newest is not None
    message = damage(newest)
    with pytest.raises(ModelError, match=message):
        go(finished, tokenizer, corpus, small_config("train.max_steps=12"), resume=newest)
    assert len(checkpoints(finished)) == 3


def test_bf16_reaches_the_output_layer(
    tmp_path: Path, tokenizer: Tokenizer, corpus: PreparedCorpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[torch.dtype] = []
    plain = trainer_module.linear_cross_entropy

    def spy(hidden: torch.Tensor, *arguments: Any) -> tuple[torch.Tensor, torch.Tensor]:
        seen.append(hidden.dtype)
        return plain(hidden, *arguments)

    monkeypatch.setattr(trainer_module, "linear_cross_entropy", spy)
    for precision in ("bf16", "fp32"):
        config = small_config("train.max_steps=1", "train.micro_batch_size=4", f"train.precision={precision}")
        go(tmp_path / precision, tokenizer, corpus, config)
    assert seen == [torch.bfloat16, torch.float32]


def test_a_full_disk_while_logging(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path, 0)
    log._file = Path("/dev/full").open("w")  # noqa: SIM115
    with pytest.raises(ResourceError, match=r"Cannot write .*metrics.jsonl"):
        log.write({"step": 1, "loss": 2.0})


def test_tensorboard_gets_every_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: dict[str, float] = {}

    class Board:
        def add_scalar(self, name: str, value: float, step: int) -> None:
            written[name] = value

        def close(self) -> None:
            pass

    monkeypatch.setattr("glm130b.training.metrics._open_tensorboard", lambda run, step: Board())
    with MetricsLog(tmp_path, 0, tensorboard=True) as log:
        log.write({"step": 1, "loss": 2.0, "loss_mask": None, "heldout_loss": {"all": 3.0}})
    assert written == {"loss": 2.0, "heldout_loss/all": 3.0}


def test_room_for_checkpoints_already_there_is_not_asked_for_again(
    finished: Path, tokenizer: Tokenizer, corpus: PreparedCorpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    from glm130b.planning import parameter_count

    config = small_config("checkpoint.keep=3", "train.max_steps=10")
    room = 12 * parameter_count(config.run.model) * 1.5
    monkeypatch.setattr(shutil, "disk_usage", lambda _place: type("Usage", (), {"free": room}))
    go(finished, tokenizer, corpus, config, resume=latest_checkpoint(finished))
    with pytest.raises(GLMError, match=r"needs \d+\.\d MB for 4 checkpoints, \d+\.\d MB are free"):
        go(finished / "new", tokenizer, corpus, config)
