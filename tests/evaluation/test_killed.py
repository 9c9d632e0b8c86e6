"""SIGKILL at random moments: what an evaluation finds is what it would have found undisturbed."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import torch
from support import TINY_SPECIAL
from toy import TINY_NUMBERS, identity

from glm130b.evaluation.answers import AnswerStore, answer_all
from glm130b.evaluation.engine import Engine
from glm130b.evaluation.items import Answer, Choose, Predict, Request, Write
from glm130b.evaluation.task import Decode
from glm130b.model import GLM

BATCH_TOKENS = 120


def requests() -> list[Request]:
    """Of every kind, and of many lengths."""
    rng = random.Random(3)

    def words(most: int) -> tuple[int, ...]:
        return tuple(rng.randrange(3, 55) for _ in range(rng.randrange(1, most)))

    made: list[Request] = []
    for n in range(60):
        options = tuple(words(6) for _ in range(3))
        made.append(Choose((*words(20), TINY_SPECIAL.mask, *words(5)), options, "[MASK]"))
        made.append(Choose(words(30), options, "[gMASK]", "unidirectional"))
        window = words(50) + words(5)
        made.append(Predict(window, len(window) // 2, 1, "[gMASK]"))
        made.append(Write(words(20), "[gMASK]", "bidirectional", Decode(max_new_tokens=6, top_p=0.9), n % 3))
        made.append(Write(words(20), "[gMASK]", "bidirectional", Decode(max_new_tokens=4, beams=2)))
    return made


class Logging(Engine):
    """Notes the keys of each batch before it is answered, as one write to a file that a kill does not undo."""

    def __init__(self, model: GLM, store: AnswerStore, log: Path) -> None:
        super().__init__(model, TINY_NUMBERS, batch_tokens=BATCH_TOKENS)
        self._store, self._log = store, os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def _answers(self, batch: Sequence[Request]) -> list[Answer]:
        os.write(self._log, (" ".join(self._store.key(request) for request in batch) + "\n").encode())
        return super()._answers(batch)


def evaluate(model: GLM, path: Path, log: Path) -> None:
    torch.set_num_threads(1)
    with AnswerStore(path, identity()) as store:
        answer_all(Logging(model, store, log), store, requests())


def started(model: GLM, path: Path, log: Path) -> multiprocessing.Process:
    process = multiprocessing.get_context("fork").Process(target=evaluate, args=(model, path, log))
    process.start()
    return process


def batches(log: Path) -> Iterator[list[str]]:
    if log.exists():
        yield from (line.split() for line in log.read_text().splitlines())


def found(path: Path) -> list[Answer]:
    with AnswerStore(path, identity()) as store:
        return [store[store.key(request)] for request in requests()]


@pytest.mark.slow
def test_killed_at_random_the_answers_are_the_same(tiny: GLM, tmp_path: Path) -> None:
    whole = started(tiny, tmp_path / "whole.jsonl", tmp_path / "whole.log")
    whole.join(timeout=120)
    assert whole.exitcode == 0
    undisturbed = list(batches(tmp_path / "whole.log"))
    assert len(undisturbed) > 60

    path, log, rng, kills = tmp_path / "killed.jsonl", tmp_path / "killed.log", random.Random(5), 0
    for share in (0.1, 0.25, 0.4, 0.55, 0.7, 0.85):
        process = started(tiny, path, log)
        while process.is_alive() and sum(1 for _ in batches(log)) < share * len(undisturbed):
            time.sleep(0.001)
        time.sleep(rng.random() * 0.01)
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join(timeout=60)
        kills += process.exitcode == -signal.SIGKILL
    last = started(tiny, path, log)
    last.join(timeout=120)
    assert last.exitcode == 0
    assert kills >= 3

    assert found(path) == found(tmp_path / "whole.jsonl")  # to the last bit
    asked = list(batches(log))
    assert {tuple(batch) for batch in asked} == {tuple(batch) for batch in undisturbed}
    assert len(asked) - len(undisturbed) <= kills  # at most one batch a kill was asked twice
