"""SIGKILL at every point of a save at which the disk is told something."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoint_support import Job, tensors_of
from support import small_config

from glm130b.corpus import PreparedCorpus
from glm130b.model import checkpoints
from glm130b.tokenization import Tokenizer
from glm130b.training.checkpoint import remove_leftovers

pytestmark = pytest.mark.slow

POINTS = ("mkdir", "fsync", "rename", "replace", "unlink", "rmdir")


def die_before(number: int) -> None:
    """Kill this process instead of letting it do the so manyth of ``POINTS``."""
    done = 0

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        def point(*arguments: Any, **options: Any) -> Any:
            nonlocal done
            done += 1
            if done > number:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*arguments, **options)

        return point

    for name in POINTS:
        setattr(os, name, counted(getattr(os, name)))


def save_and_die(job: Job, number: int) -> bool:
    """Save in a process that dies after so many points; whether it came to its end before."""
    child = os.fork()
    if not child:
        die_before(number)
        job.save()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert status in (0, signal.SIGKILL)
    return status == 0


def test_killed_anywhere_a_save_leaves_the_old_checkpoint_or_the_new_one(
    tmp_path: Path, tokenizer: Tokenizer, corpus: PreparedCorpus
) -> None:
    """Whole, usable, and with nothing else beside it once the next process has begun."""
    config = small_config("checkpoint.keep=1").run
    job = Job.begin(tmp_path / "before", config, tokenizer, corpus)
    job.advance(1)
    saved = {1: tensors(job)}
    job.save()
    job.advance(1)
    saved[2] = tensors(job)
    seen: list[tuple[int, ...]] = []
    restored = Job.begin(tmp_path / "run", config, tokenizer, corpus)
    number, finished = 0, False
    while not finished:
        job.run = tmp_path / "run"
        shutil.copytree(tmp_path / "before", job.run)
        finished = save_and_die(job, number)
        remove_leftovers(job.run)
        there = checkpoints(job.run)
        assert sorted(there) == sorted((job.run / "checkpoints").iterdir())
        for path in there:
            restored.load(path)
            assert all(map(torch.equal, tensors(restored), saved[restored.progress.step]))
        seen.append(tuple(int(path.name.removeprefix("step-")) for path in there))
        shutil.rmtree(job.run)
        number += 1
    assert sorted(set(seen)) == [(1,), (1, 2), (2,)]
    assert seen == sorted(seen)
    assert len(seen) > 20


def tensors(job: Job) -> list[torch.Tensor]:
    return [tensor.clone() for _, _, tensor in tensors_of(job.held, job.optimizer)]
