"""Every task loads, renders and scores: on invented data in the official layouts, and on real files if there."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from real_data import REAL, needs_real

from glm130b.config import ModelConfig
from glm130b.evaluation import Options, Runner, Task, known_tasks, load_items, read_task_records
from glm130b.evaluation.encode import Encoder
from glm130b.evaluation.engine import Engine
from glm130b.evaluation.items import Answer, Request
from glm130b.evaluation.plan import asked_texts
from glm130b.evaluation.results import TaskResult
from glm130b.evaluation.seen import Seen
from glm130b.inference import conventions_of
from glm130b.model import GLM, build_model
from glm130b.tokenization import Tokenizer

INVENTED = Path(__file__).parents[1] / "fixtures" / "evaluation"
TASKS = known_tasks()


@cache
def random_model(seed: int) -> tuple[GLM, Tokenizer]:
    """Untrained, with every parameter away from its initial value, so that its preferences are strong and arbitrary."""
    tokenizer = Tokenizer.load()
    size = -(-tokenizer.vocab_size // 64) * 64
    config = ModelConfig(
        num_layers=2, hidden_size=32, num_heads=2, ffn_size=64, vocab_size=size, max_sequence_length=1024
    )
    model = build_model(config, seed=seed)
    draws = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.data.add_(torch.randn(parameter.shape, generator=draws) * 0.2)
    return model.eval().requires_grad_(False), tokenizer


def measured(task: Task, data: Path, out: Path, *, limit: int | None, seed: int = 0) -> TaskResult:
    model, tokenizer = random_model(seed)
    engine = Engine(model, tokenizer, batch_tokens=4096)

    def ask(requests: Sequence[Request], tell: object) -> list[Answer]:
        found = dict(pair for batch in engine.answer(requests) for pair in batch)
        return [found[n] for n in range(len(requests))]

    encoder = Encoder(tokenizer, conventions_of(model, tokenizer), model.config.max_sequence_length)
    return Runner(ask, encoder, data, out, Seen({}), Options(limit=limit)).run(task)


def examples_there(task: Task) -> bool:
    return all(next(REAL.glob(pattern.removesuffix("?")), None) for pattern in task.data.fewshot)


def there(task: Task) -> bool:
    return task.data.bundled or any(next(REAL.glob(pattern.removesuffix("?")), None) for pattern in task.data.files)


AT_HAND = [name for name, task in TASKS.items() if there(task)]
CHOICE = [
    name
    for name in AT_HAND
    if TASKS[name].mode == "choice" and not TASKS[name].data.bundled and not name.startswith("stereoset/")
]
"""StereoSet has options none of which is right."""


@pytest.mark.slow
@pytest.mark.parametrize("name", TASKS)
def test_it_scores_on_invented_data(name: str, tmp_path: Path) -> None:
    task = TASKS[name]
    short = task.model_copy(update={"decode": task.decode.model_copy(update={"max_new_tokens": 4, "samples": 2})})
    result = measured(short, INVENTED, tmp_path, limit=6)
    assert result.headlines
    for one in result.measurements:
        assert one.questions == result.items > 0
        for score in one.scores:
            if score.value is not None and score.low is not None and score.high is not None:
                assert score.low <= score.value <= score.high or math.isclose(score.low, score.high)
            if task.mode == "choice" and score.metric == "accuracy":
                assert score.value is not None
                assert 0 < (score.random or 0) < 1
    names = {"samples", "prompts", "units"}
    assert {path.parent.name for path in tmp_path.rglob("*.jsonl")} == names


@pytest.mark.parametrize("name", TASKS)
def test_every_wording_renders_on_invented_data(name: str) -> None:
    task = TASKS[name]
    for question, _ in asked_texts(task, INVENTED, Options(), 0):
        assert question.text.strip()
        if task.mode == "choice":
            assert len(question.options) >= 2
            assert all(option.strip() for option in question.options)
            assert set(question.item.labels) <= set(range(len(question.options)))
            assert len(set(question.options)) == len(question.options), question.options


@pytest.mark.slow
@needs_real
@pytest.mark.parametrize("name", AT_HAND)
def test_every_wording_renders_on_real_data(name: str) -> None:
    task = TASKS[name]
    for question, _ in asked_texts(task, REAL, Options(shots=None if examples_there(task) else (0,)), 0):
        assert question.text.strip()
    loaded = load_items(task, REAL)
    assert "accuracy" not in task.metrics or all(item.labels for item in loaded.items) or task.name == "clue/ocnli"


@pytest.mark.slow
@needs_real
@pytest.mark.parametrize("name", CHOICE)
def test_a_random_model_scores_at_chance(name: str, tmp_path: Path) -> None:
    """What a model that knows nothing could tell would be a leak: of the answer into the text, or of its place.

    Chance is what its own habits would give: how often it takes each option, times how often that one is right. Three
    models are asked, and each would have to be off by 3.3 standard errors in the same direction.
    """
    task = TASKS[name]
    off = []
    for seed in range(3):
        out = tmp_path / str(seed)
        measured(task, REAL, out, limit=120, seed=seed)
        samples = [line for line in read_task_records(out, "samples", name) if "labels" in line]
        by_key: dict[str, list[dict[str, Any]]] = {}
        for line in samples:
            by_key.setdefault(line["measurement"], []).append(line)
        excess = []
        for lines in by_key.values():
            taken = Counter(line["choice"] for line in lines)
            right = Counter(label for line in lines for label in line["labels"])
            habit = sum(taken[option] * right[option] for option in taken) / len(lines) ** 2
            excess.append(sum(line["choice"] in line["labels"] for line in lines) / len(lines) - habit)
        fewest = min(len({line["id"] for line in lines}) for lines in by_key.values())
        off.append(sum(excess) / len(excess) / math.sqrt(0.25 / fewest))
    assert not all(value > 3.3 for value in off), off
    assert not all(value < -3.3 for value in off), off
