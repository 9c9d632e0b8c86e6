"""Checkpoints of one process: what they hold, that saving takes a snapshot, and how failures come out."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoint_support import Job, tensors_of
from safetensors.torch import load_file, save_file
from support import small_config
from torch import Tensor

from glm130b.config import RunConfig
from glm130b.corpus import PreparedCorpus
from glm130b.errors import DataError, ModelError, ResourceError
from glm130b.interop import load_model
from glm130b.model import OPTIMIZER_INDEX
from glm130b.tokenization import Tokenizer
from glm130b.training import Progress, checkpoint_writer


def config(asynchronous: bool = True, keep: int = 3) -> RunConfig:
    return small_config(f"checkpoint.asynchronous={asynchronous}", f"checkpoint.keep={keep}").run


@pytest.fixture
def job(tmp_path: Path, tokenizer: Tokenizer, corpus: PreparedCorpus) -> Job:
    return Job.begin(tmp_path, config(), tokenizer, corpus)


def another(job: Job, corpus: PreparedCorpus) -> Job:
    """The same run, not yet trained."""
    return Job.begin(job.run, job.config, job.tokenizer, corpus)


def everything(job: Job) -> dict[str, Tensor]:
    """Copies of all that a checkpoint holds of the model and the optimizer."""
    found = {f"{name}@{region}": tensor.clone() for name, region, tensor in tensors_of(job.held, job.optimizer)}
    states = {one.name: job.optimizer.state.get(one.local, {}) for one in job.held}
    return found | {f"step.{name}": state["step"].clone() for name, state in states.items() if state}


def assert_same(left: dict[str, Tensor], right: dict[str, Tensor]) -> None:
    assert left.keys() == right.keys()
    for name, tensor in left.items():
        assert torch.equal(tensor, right[name]), name
        assert (tensor.dtype, tensor.device) == (right[name].dtype, right[name].device)


@pytest.mark.parametrize("asynchronous", [True, False])
def test_a_checkpoint_restores_to_the_last_bit(job: Job, corpus: PreparedCorpus, asynchronous: bool) -> None:
    job.config = config(asynchronous)
    job.advance(2)
    job.progress = Progress(3, 12, skipped_steps=1, skipped_samples=4)
    path = job.save(scaler={"scale": 512.0}, hosts=["a"])
    restored = another(job, corpus)
    assert restored.load(path) == {"scaler": {"scale": 512.0}, "hosts": ["a"]}
    assert restored.progress == job.progress
    assert_same(everything(restored), everything(job))
    for one in (job, restored):
        one.advance(1)
    assert_same(everything(restored), everything(job))


def test_the_folder_of_a_single_process(job: Job) -> None:
    """A model folder with whole tensors under their names, and the optimizer's beside it."""
    job.advance(1)
    path = job.save()
    assert {file.name for file in path.iterdir()} == {
        "config.json",
        "model-00001-of-00001.safetensors",
        "model.safetensors.index.json",
        "optimizer-00001-of-00001.safetensors",
        "optimizer.safetensors.index.json",
        "tokenizer.model",
        "tokenizer_config.json",
        "training_state.json",
    }
    names = {one.name for one in job.held}
    assert load_file(path / "model-00001-of-00001.safetensors").keys() == names
    averages = load_file(path / "optimizer-00001-of-00001.safetensors").keys()
    assert averages == {f"{kind}.{name}" for kind in ("exp_avg", "exp_avg_sq") for name in names}
    for index in ("model", "optimizer"):
        assert "pieces" not in json.loads((path / f"{index}.safetensors.index.json").read_text())
    model = load_model(path)
    assert all(torch.equal(model.state_dict()[one.name], one.local) for one in job.held)


@pytest.fixture
def slow_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Nothing is written until this is set."""
    free, plain = threading.Event(), checkpoint_writer.write_shards

    def slow(*arguments: Any) -> Any:
        assert free.wait(60)
        return plain(*arguments)

    monkeypatch.setattr(checkpoint_writer, "write_shards", slow)
    yield free
    free.set()


def test_saving_takes_a_snapshot(job: Job, corpus: PreparedCorpus, slow_disk: threading.Event) -> None:
    """What is trained, and what the caller does to ``extra``, while it is written does not get into it."""
    job.advance(2)
    writer, extra, expected = job.writer(), {"events": [1]}, everything(job)
    path = writer.save(job.held, job.optimizer, job.progress, extra)
    job.advance(3)
    extra["events"].append(2)
    assert writer.check() is None
    assert not path.exists()
    slow_disk.set()
    assert writer.wait() == writer.check() == path
    restored = another(job, corpus)
    assert restored.load(path) == {"events": [1]}
    assert restored.progress == Progress(2, 8)
    assert_same(everything(restored), expected)


def test_a_save_waits_for_the_one_before(job: Job, corpus: PreparedCorpus, slow_disk: threading.Event) -> None:
    """They share the copies in memory."""
    writer, expected = job.writer(), []
    for number in range(3):
        job.advance(1)
        expected.append(everything(job))
        if number == 1:
            threading.Timer(0.05, slow_disk.set).start()
        writer.save(job.held, job.optimizer, job.progress, {})
    writer.close()
    for number, tensors in enumerate(expected, start=1):
        restored = another(job, corpus)
        restored.load(job.run / "checkpoints" / f"step-{number:08d}")
        assert_same(everything(restored), tensors)


@pytest.mark.parametrize(("asynchronous", "how"), [(True, "save"), (True, "wait"), (True, "check"), (False, "save")])
def test_a_failure_comes_out_once_and_the_next_save_works(
    job: Job, monkeypatch: pytest.MonkeyPatch, asynchronous: bool, how: str
) -> None:
    job.config = config(asynchronous)
    job.advance(1)
    writer = job.writer()
    first = writer.save(job.held, job.optimizer, job.progress, {})
    writer.wait()
    job.advance(1)

    def again() -> Path:
        return writer.save(job.held, job.optimizer, job.progress, {})

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    def fail() -> None:
        again()  # raises at once if not asynchronous
        writer.close()
        assert writer.failed
        {"save": again, "wait": writer.wait, "check": writer.check}[how]()

    with monkeypatch.context() as context:
        context.setattr(checkpoint_writer, "publish", full)
        with pytest.raises(ResourceError, match=r"Cannot write .*step-00000002: No space left"):
            fail()
    assert not writer.failed
    assert writer.check() == first
    assert [path.name for path in (job.run / "checkpoints").iterdir()] == [first.name]
    second = again()
    assert writer.wait() == second


def test_a_bug_in_the_thread_is_not_lost(job: Job) -> None:
    def stumble(_: Path) -> None:
        raise ZeroDivisionError

    writer = job.writer()
    writer.save(job.held, job.optimizer, job.progress, {}, add_files=stumble)
    with pytest.raises(ZeroDivisionError):
        writer.wait()
    with pytest.raises(TypeError, match="not JSON serializable"):
        writer.save(job.held, job.optimizer, job.progress, {"when": object()})


def test_more_files_and_one_checkpoint_a_step(job: Job) -> None:
    writer = job.writer()
    path = writer.save(
        job.held, job.optimizer, job.progress, {}, add_files=lambda folder: (folder / "ledger").write_text("x") and None
    )
    writer.wait()
    assert (path / "ledger").read_text() == "x"
    with pytest.raises(DataError, match="step-00000000 exists already"):
        job.save()
    assert (path / "ledger").exists()


def test_a_run_that_has_not_moved_yet(job: Job, corpus: PreparedCorpus) -> None:
    """At the start, and after steps that were all left out."""
    for progress in (Progress(), Progress(2, 8, skipped_steps=2, skipped_samples=8)):
        job.progress = progress
        path = job.save()
        assert not list(path.glob("optimizer-*"))
        restored = another(job, corpus)
        restored.advance(1)
        restored.load(path)
        assert restored.progress == progress
        assert not restored.optimizer.state
        assert_same(everything(restored), everything(job))


def test_retention(job: Job) -> None:
    job.config = small_config("checkpoint.keep=1", "checkpoint.keep_every=2").run
    for _ in range(5):
        job.advance(1)
        job.save()
    names = sorted(path.name for path in (job.run / "checkpoints").iterdir())
    assert names == ["step-00000002", "step-00000004", "step-00000005"]


def as_before(path: Path) -> None:
    """Turn a checkpoint into one of the first version: the optimizer in one file, without index or counters."""
    shard = path / "optimizer-00001-of-00001.safetensors"
    save_file(load_file(shard), path / "optimizer.safetensors")
    shard.unlink()
    (path / OPTIMIZER_INDEX).unlink()
    state = json.loads((path / "training_state.json").read_text())
    for key in ("skipped_steps", "skipped_samples", "optimizer", "drifted_replicas", "extra"):
        del state[key]
    (path / "training_state.json").write_text(json.dumps(state))


def test_checkpoints_of_the_first_version(job: Job, corpus: PreparedCorpus) -> None:
    job.advance(2)
    path = job.save()
    as_before(path)
    restored = another(job, corpus)
    assert restored.load(path) == {}
    assert restored.progress == job.progress
    assert_same(everything(restored), everything(job))
    file = path / "optimizer.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[:-10])
    with pytest.raises(ModelError, match=r"optimizer.safetensors is truncated or damaged"):
        another(job, corpus).load(path)
    file.unlink()
    with pytest.raises(ModelError, match=r"optimizer.safetensors.index.json is missing"):
        another(job, corpus).load(path)
