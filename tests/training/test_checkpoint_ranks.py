"""Checkpoints of several processes: saved under one cut, loaded under another, refused alike on every rank."""

from __future__ import annotations

import errno
import os
import re
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoint_support import EMBEDDING, Job, Layout, tensors_of
from ranks import run_ranks
from support import small_config
from torch import Tensor

import glm130b
from glm130b.config import RunConfig
from glm130b.corpus import PreparedCorpus
from glm130b.errors import GLMError, ModelError, ResourceError
from glm130b.interop import convert, load_model, quantize_folder, verify
from glm130b.model import FolderTensors, Region
from glm130b.parallel import Held, World
from glm130b.planning import parameter_shapes
from glm130b.tokenization import Tokenizer
from glm130b.training import Progress, checkpoint_writer, latest_checkpoint

pytestmark = pytest.mark.slow

NORM = "layers.0.input_layernorm.weight"
SHAPES = parameter_shapes(small_config().run.model)

Begin = Callable[[Layout], Job]


@pytest.fixture
def config() -> RunConfig:
    return small_config("checkpoint.keep=3").run


@pytest.fixture
def begin(tmp_path: Path, config: RunConfig, tokenizer: Tokenizer, corpus: PreparedCorpus) -> Begin:
    """Makes a rank's job in whatever process it is called."""
    return lambda layout: Job.begin(tmp_path, config, tokenizer, corpus, World.current(), layout)


def refusal(action: Callable[[], Any]) -> tuple[type[Exception], str] | None:
    """The kind and the words of the error that a call ends with."""
    try:
        action()
    except GLMError as error:
        return type(error), str(error)
    return None


def save(begin: Begin, layout: Layout, updates: int = 3) -> Path:
    return saved(begin, layout, updates)[0]


def saved(begin: Begin, layout: Layout, updates: int = 3) -> tuple[Path, dict[str, Tensor]]:
    """A checkpoint of ranks in a layout, and the whole tensors of what they held."""

    def work() -> tuple[Path, list[tuple[str, Region, Tensor]]]:
        job = begin(layout)
        job.advance(updates)
        # Copied: a view is pickled with all that it is a view of.
        return job.save(layout=vars(layout)), [
            (name, region, values.clone()) for name, region, values in tensors_of(job.held, job.optimizer)
        ]

    ranks = run_ranks(layout.size, work)
    wholes: dict[str, Tensor] = {}
    for _, held in ranks:
        for name, region, values in held:
            shape = SHAPES[name.removeprefix("exp_avg.").removeprefix("exp_avg_sq.")]
            wholes.setdefault(name, torch.full(shape, torch.nan))[region.slices] = values
    (path,) = {path for path, _ in ranks}
    return path, wholes


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (Layout(), Layout(2, 1, 2)),
        (Layout(tp=2), Layout(dp=3)),
        (Layout(dp=2, tp=2), Layout(tp=4)),
        (Layout(pp=2, dp=2), Layout()),
        (Layout(2, 2, 2), Layout(1, 3, 2)),
        (Layout(1, 3, 2), Layout(1, 3, 2)),
    ],
    ids=str,
)
def test_saved_under_one_layout_and_loaded_under_another(begin: Begin, before: Layout, after: Layout) -> None:
    """To the last bit, averages too; and the next update is that of a run that was not interrupted."""
    path, expected = saved(begin, before)
    assert len(expected) == 3 * len(SHAPES)
    assert not any(tensor.isnan().any() for tensor in expected.values())
    whole = begin(Layout())
    whole.advance(4)

    def work() -> tuple[dict[str, Any], Progress]:
        job = begin(after)
        extra = job.load(path)
        assert {len(job.optimizer.state[one.local]) for one in job.held} == {3}
        for name, region, values in tensors_of(job.held, job.optimizer):
            assert torch.equal(values, expected[name][region.slices]), name
        job.advance(1)
        for one in job.held:
            (there,) = (other.local for other in whole.held if other.name == one.name)
            for region, values in one.stretches(one.local):
                assert torch.allclose(values, there[region.slices], rtol=1e-5, atol=1e-7), one.name
        return extra, job.progress

    assert run_ranks(after.size, work) == [({"layout": vars(before)}, whole.progress)] * after.size


def test_a_checkpoint_in_pieces_is_a_model_folder(begin: Begin, tmp_path: Path, tokenizer: Tokenizer) -> None:
    """Loaded, verified, quantised and exported, tensor by tensor, like any other."""
    path = save(begin, Layout(2, 2, 2))
    assert len(list(path.glob("model-*-of-00008.safetensors"))) == 8
    whole = begin(Layout())
    whole.advance(3)
    expected = {one.name: one.local.detach() for one in whole.held}
    model, loaded = glm130b.load(path)
    assert loaded.fingerprint == tokenizer.fingerprint
    assert expected.keys() == model.state_dict().keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in model.state_dict().items())
    checks = {check.path.name: check.fault for check in verify(path)}
    assert {"training_state.json", "config.json", "optimizer-00008-of-00008.safetensors"} <= checks.keys()
    assert set(checks.values()) == {None}
    convert(path, tmp_path / "plain", to="folder")
    plain = FolderTensors(tmp_path / "plain")
    assert not plain.index.cuts
    assert all(torch.equal(plain.read(name), tensor) for name, tensor in expected.items())
    quantize_folder(path, tmp_path / "small", 4)
    quantize_folder(tmp_path / "plain", tmp_path / "same", 4)
    small, same = load_model(tmp_path / "small").state_dict(), load_model(tmp_path / "same").state_dict()
    assert all(torch.equal(tensor, same[name]) for name, tensor in small.items())


@pytest.mark.parametrize(
    ("layout", "rank", "name", "of_averages", "message"),
    [
        (Layout(tp=2), 1, NORM, False, rf"replicas have drifted apart: {NORM} of rank 1 is not that"),
        (Layout(dp=2, tp=2), 3, NORM, True, rf"replicas have drifted apart: exp_avg_sq.{NORM} of rank 3 is not that"),
        (Layout(pp=2), 1, EMBEDDING, False, rf"the embedding is untied: {EMBEDDING} of rank 1 is not that"),
    ],
)
def test_what_should_be_the_same_and_is_not_is_refused(
    begin: Begin, layout: Layout, rank: int, name: str, of_averages: bool, message: str
) -> None:
    """By one bit: told on every rank once it is written, and when a run is to go on from it."""
    good = save(begin, layout, updates=2)

    def work() -> Any:
        job = begin(layout)
        job.advance(3)
        if job.world.rank == rank:
            one = next(one for one in job.held if one.name == name)
            spoilt = job.optimizer.state[one.local]["exp_avg_sq"] if of_averages else one.local.detach()
            spoilt.view(-1).view(torch.int32)[0] ^= 1
        return refusal(job.save)

    told = run_ranks(layout.size, work)
    assert len(set(told)) == 1
    with pytest.raises(ModelError, match=message) as caught:
        raise ModelError(told[0][1])
    assert "Older checkpoints are kept" in str(caught.value)
    newest = latest_checkpoint(good.parents[1])
    assert newest is not None
    assert newest != good
    with pytest.raises(ModelError, match=message):
        begin(Layout()).load(newest)
    begin(Layout()).load(good)


def test_a_full_disk_of_one_rank_is_told_by_all(begin: Begin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The save before it stays, nothing is left of the failed one, and the next one is made."""

    def work() -> Any:
        job = begin(Layout(tp=2))
        writer = job.writer()
        plain = checkpoint_writer.write_shards

        def full(*arguments: Any) -> Any:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        told = []
        for step in (1, 2, 3):
            job.advance(1)
            monkeypatch.setattr(checkpoint_writer, "write_shards", full if (step, job.world.rank) == (2, 1) else plain)
            writer.save(job.held, job.optimizer, job.progress, {})
            told.append(refusal(writer.wait))
            job.world.barrier()
            told.append(sorted(path.name for path in (tmp_path / "checkpoints").iterdir()))
            job.world.barrier()
        return told

    told, other = run_ranks(2, work)
    assert told == other
    problem = f"Cannot write {tmp_path / 'checkpoints' / 'step-00000002'}: No space left on device."
    assert told == [
        None,
        ["step-00000001"],
        (ResourceError, f"{problem} Free some space or choose another place; what was saved before is kept."),
        ["step-00000001"],
        None,
        ["step-00000001", "step-00000003"],
    ]


def test_a_bug_on_one_rank_ends_all(begin: Begin, tmp_path: Path) -> None:
    """With its traceback, wherever it is looked at."""

    def stumble(_: Path) -> None:
        raise ZeroDivisionError

    def work() -> tuple[str, str]:
        job = begin(Layout(dp=2))
        writer = job.writer()
        writer.save(job.held, job.optimizer, job.progress, {}, add_files=stumble)
        with pytest.raises((ZeroDivisionError, RuntimeError)) as caught:
            writer.wait()
        return caught.type.__name__, str(caught.value)

    (first, _), (second, told) = run_ranks(2, work)
    assert (first, second) == ("ZeroDivisionError", "RuntimeError")
    assert re.search(r"^Rank 0 failed:\n(?s:.*)in stumble\n(?s:.*)ZeroDivisionError", told)
    assert list((tmp_path / "checkpoints").iterdir()) == []


def test_a_rank_that_dies_while_saving_leaves_the_checkpoint_before(
    begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = save(begin, Layout(tp=2), updates=1)

    def work() -> None:
        job = begin(Layout(tp=2))
        job.advance(2)
        if job.world.rank == 1:
            monkeypatch.setattr(os, "fsync", lambda _: os.kill(os.getpid(), signal.SIGKILL))
        job.save()

    with pytest.raises(AssertionError, match=r"rank 0:\nTraceback(?s:.*)rank 1:\nended with -9"):
        run_ranks(2, work)
    assert latest_checkpoint(good.parents[1]) == good
    job = begin(Layout())
    job.load(good)
    assert job.progress.step == 1


def test_ranks_that_do_not_make_up_the_whole_are_refused(begin: Begin, tmp_path: Path) -> None:
    """A parameter that two ranks stand for, and one that none does; nothing is published."""

    def work(fault: Callable[[list[Held]], list[Held]]) -> Any:
        job = begin(Layout(tp=2))
        job.held = fault(job.held)
        return refusal(job.save)

    for fault, message in (
        (lambda held: [replace(one, counts=True) for one in held], f"The pieces of {NORM} that the ranks hold do not"),
        (lambda held: [one for one in held if one.name != NORM], f"lacks {NORM} (1 tensors in all)"),
    ):
        told = run_ranks(2, work, fault)
        assert told[0] == told[1]
        assert message in told[0][1]
    assert list((tmp_path / "checkpoints").iterdir()) == []


def test_a_damaged_piece_is_told_by_all(begin: Begin) -> None:
    path = save(begin, Layout(dp=2))
    file = path / "optimizer-00002-of-00002.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)

    def work() -> Any:
        job = begin(Layout(dp=3))
        return refusal(lambda: job.load(path))

    told = run_ranks(3, work)
    assert len(set(told)) == 1
    assert told[0][0] is ModelError
    assert "optimizer-00002-of-00002.safetensors is damaged: the bytes of exp_avg_sq." in told[0][1]
