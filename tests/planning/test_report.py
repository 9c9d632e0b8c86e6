"""The plan as a page: what it says of the paper's run, and that it stays readable for others."""

from __future__ import annotations

from collections import Counter

import pytest
from support import small_config

from glm130b.config import RunConfig, load_config
from glm130b.planning import plan_text
from glm130b.training import Schedule


def page(config: RunConfig, *, gpu: bool) -> str:
    return plan_text(config, Counter(size for _, size in Schedule.of(config).steps()), gpu=gpu)


@pytest.fixture(scope="module")
def paper() -> str:
    return page(load_config("130b", ["parallel.sequence=false"]).run, gpu=True)


@pytest.mark.parametrize(
    "line",
    [
        "model          128,697,794,560 parameters",
        "data           219,726,562 sequences of 2,048 tokens in 55,014 steps",
        "layout         768 ranks: pipeline 8 x data 24 x tensor 4",
        "1F1B, ZeRO stage 1, FP16, recomputing every layer",
        "micro-batches  8 to 176 of 1 on each of 24 data-parallel ranks",
        "bubble         46.67% of a step of 192, 3.83% of a step of 4,224, by the formula",
        "9.118e+18 with recomputation, which is 24.7% of them",
        "A100 40 GB    42.3 GB    no       89.5 s            126  42.5%  32.0%  54.0 days",
        "(A100 40 GB would do with parallel.sequence=true: 36.9 GB)",
    ],
)
def test_the_papers_run(paper: str, line: str) -> None:
    assert line in paper


def test_every_rank_of_the_pipeline_has_a_line(paper: str) -> None:
    lines = paper.split("Memory of")[1].split("\n\n")[0].splitlines()[1:10]
    assert [line.split()[0] for line in lines] == ["rank", *map(str, range(8))]
    assert lines[1].split()[1:3] == ["embedding,", "0-7"]
    assert lines[8].split()[1:3] == ["62-69,", "head"]
    assert len({len(line) for line in lines}) == 1
    for line in lines[1:]:
        *kinds, total = map(float, line.split()[-8:])
        assert sum(kinds) == pytest.approx(total, abs=0.4)


def test_one_process_has_no_pipeline_to_speak_of() -> None:
    text = page(small_config().run, gpu=False)
    assert "one rank" in text
    assert "micro-batches  2 of 3" in text
    assert not any(word in text for word in ("bubble", "buffers", "ZeRO", "padding", "Time"))


def test_padding_is_told() -> None:
    text = page(small_config("parallel.data=3", "train.precision=bf16").run, gpu=True)
    assert "padding        33.3% of the sequences run are empty" in text
    assert "Time" in text
