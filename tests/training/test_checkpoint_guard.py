"""What a run does not go on from, each fault injected and refused by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoint_support import Job
from support import small_config
from torch import nn

from glm130b.corpus import PreparedCorpus
from glm130b.errors import ConfigError, GLMError, ModelError
from glm130b.files import sha256_of_file
from glm130b.model import OPTIMIZER_INDEX
from glm130b.parallel import TIED
from glm130b.tokenization import Tokenizer
from glm130b.training import latest_checkpoint
from glm130b.training.guard import check_counters, drifted_replicas

NAME = "layers.1.mlp.dense_4h_to_h.weight"


@pytest.fixture
def job(tmp_path: Path, tokenizer: Tokenizer, corpus: PreparedCorpus) -> Job:
    """A run after two updates."""
    begun = Job.begin(tmp_path, small_config("checkpoint.keep=3").run, tokenizer, corpus)
    begun.advance(2)
    return begun


def state_of(job: Job, name: str = NAME) -> dict[str, torch.Tensor]:
    (local,) = (one.local for one in job.held if one.name == name)
    state: dict[str, torch.Tensor] = job.optimizer.state[local]
    return state


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda state: state.pop("step"), rf"step counter of {NAME} is lost, after 3 updates"),
        (lambda state: state["step"].zero_(), rf"step counter of {NAME} says 0.0, after 3 updates"),
        (lambda state: state["step"].fill_(7), rf"step counter of {NAME} says 7.0, after 3 updates"),
    ],
)
def test_an_optimizer_that_has_lost_count(job: Job, spoil: Callable[[Any], object], message: str) -> None:
    """Told when it is written, refused when a run is to go on from it; the checkpoint before it is kept."""
    good = job.save()
    job.advance(1)
    spoil(state_of(job))
    with pytest.raises(ModelError, match=message) as caught:
        job.save()
    assert "Older checkpoints are kept" in str(caught.value)
    newest = latest_checkpoint(job.run)
    assert newest is not None
    assert newest.name == "step-00000003"
    with pytest.raises(ModelError, match=message):
        job.load(newest)
    job.load(good)
    assert {state["step"].item() for state in job.optimizer.state.values()} == {2.0}


def test_one_counter_of_several_ranks_is_enough() -> None:
    check_counters(Path("x"), {"a": [2.0]}, ["a"], 2)
    check_counters(Path("x"), {}, ["a"], 0)
    for found, said in (([2.0, 1.0], "says 2.0 and 1.0"), ([2.0, None], "is lost"), ([], "is lost")):
        with pytest.raises(ModelError, match=f"x: the optimizer's step counter of a {said}, after 2 updates"):
            check_counters(Path("x"), {"a": found}, ["a"], 2)


def test_a_lost_average_is_not_published(job: Job) -> None:
    del state_of(job)["exp_avg_sq"]
    with pytest.raises(ModelError, match=rf"step-00000002 lacks exp_avg_sq.{NAME} \(1 tensors in all\)"):
        job.save()
    assert latest_checkpoint(job.run) is None


@pytest.mark.parametrize(
    ("setting", "value", "told"),
    [
        ("betas", "[0.9, 0.99]", r"betas = \[0.9, 0.95\], the config says \[0.9, 0.99\]"),
        ("epsilon", "1e-6", "epsilon = 1e-08, the config says 1e-06"),
        ("weight_decay", "0", "weight_decay = 0.1, the config says 0.0"),
    ],
)
def test_other_settings_of_the_optimizer(job: Job, setting: str, value: str, told: str) -> None:
    path = job.save()
    override = f"train.optimizer.{setting}={value}"
    with pytest.raises(ConfigError, match=f"was trained with train.optimizer.{told}") as caught:
        job.load(path, config=small_config(override).run)
    assert "checkpoint.allow_changed_optimizer" in str(caught.value)
    job.load(path, config=small_config(override, "checkpoint.allow_changed_optimizer=true").run)
    job.load(path, config=small_config("train.optimizer.clip=0.4", "train.learning_rate.peak=1e-3").run)


def test_the_settings_are_those_the_optimizer_had(job: Job) -> None:
    """Not those the configuration asked for."""
    job.optimizer.param_groups[0]["betas"] = (0.95, 0.9)
    with pytest.raises(ConfigError, match=r"betas = \[0.95, 0.9\], the config says \[0.9, 0.95\]"):
        job.load(job.save())


def test_another_tokenizer(job: Job) -> None:
    class Other:
        model_fingerprint = "of another vocabulary"

    with pytest.raises(ConfigError, match=r"was trained with another tokenizer than data.tokenizer names"):
        job.load(job.save(), tokenizer=Other())


def test_another_corpus(job: Job) -> None:
    other = replace(job.data, fingerprints={**job.data.fingerprints, "chinese": "of other tokens"})
    with pytest.raises(ConfigError, match="was trained on other tokens than chinese holds now"):
        job.load(job.save(), data=other)


def test_another_seed(job: Job) -> None:
    with pytest.raises(ConfigError, match=r"was trained with seed = 1234"):
        job.load(job.save(), config=small_config("seed=5").run)


def edit(path: Path, change: Callable[[dict[str, Any]], object], *, sealed: bool = False) -> None:
    """Change ``training_state.json``; ``sealed`` as if it had been written so."""
    file, index = path / "training_state.json", path / OPTIMIZER_INDEX
    state = json.loads(file.read_text())
    change(state)
    file.write_text(json.dumps(state))
    if sealed:
        content = json.loads(index.read_text())
        index.write_text(json.dumps({**content, "training_state_sha256": sha256_of_file(file)}))


@pytest.mark.parametrize(
    ("change", "sealed", "error", "message"),
    [
        (lambda state: state.update(samples=12), False, ModelError, "training_state.json is damaged .its bytes are"),
        (lambda state: state.pop("samples"), True, ModelError, "training_state.json is damaged .'samples'"),
        (lambda state: state.pop("drifted_replicas"), True, ModelError, "training_state.json is damaged"),
        (lambda state: state["optimizer"].pop("betas"), True, ModelError, "training_state.json is damaged"),
        (lambda state: state["optimizer"]["steps"].pop(NAME), True, ModelError, f"counter of {NAME} is lost"),
        (lambda state: state.update(skipped_steps=1), True, ModelError, "says 2.0, after 1 updates"),
    ],
)
def test_a_state_that_was_not_written_so(
    job: Job, change: Callable[[dict[str, Any]], object], sealed: bool, error: type[GLMError], message: str
) -> None:
    path = job.save()
    edit(path, change, sealed=sealed)
    with pytest.raises(error, match=message):
        job.load(path)


def test_both_ends_of_the_embedding_on_one_rank(job: Job) -> None:
    """As in a pipeline shaped like a V."""
    (first,) = (one for one in job.held if one.name == TIED)
    local = nn.Parameter(first.local.detach().clone())
    job.held = [*job.held, replace(first, local=local, counts=False)]
    job.optimizer.add_param_group({"params": [local]})
    job.optimizer.state[local] = {kind: tensor.clone() for kind, tensor in job.optimizer.state[first.local].items()}
    path = job.save()
    local.data.zero_()
    job.optimizer.state[local]["exp_avg"].zero_()
    job.load(path)
    assert torch.equal(local, first.local)
    assert torch.equal(*(job.optimizer.state[end]["exp_avg"] for end in (local, first.local)))
    job.advance(1)
    local.data[0, 0] += 1
    with pytest.raises(ModelError, match=f"the embedding is untied: {TIED} of rank 0 is not that"):
        job.save()


def test_drifted_replicas() -> None:
    written = {"a": "1", "b@0": "2", "b@4": "3"}
    assert drifted_replicas(written, [{}, {"a": "1", "b@4": "3"}]) == {}
    found = drifted_replicas(written, [{"a": "1"}, {"a": "0", "b@4": "3"}, {"a": "0", "c": "4"}])
    assert found == {"a": [1, 2], "c": [2]}
