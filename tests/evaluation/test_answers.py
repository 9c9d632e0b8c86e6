"""Answers on disk: what is found again, what is not, and files that are torn or damaged."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import TINY_SPECIAL
from toy import TINY_NUMBERS, identity

from glm130b.errors import DataError, ResourceError
from glm130b.evaluation.answers import AnswerStore, answer_all
from glm130b.evaluation.engine import Engine
from glm130b.evaluation.identity import Identity
from glm130b.evaluation.items import Answer, Choose, Predict, Request, Write
from glm130b.evaluation.progress import Meter, Progress
from glm130b.evaluation.requests import tokens_of
from glm130b.evaluation.task import Decode
from glm130b.model import GLM

CHOOSE = Choose((9, 10), ((11,), (12, 13)), "[gMASK]")
PREDICT = Predict((9, 10, 11, 12), 1, 2, "[gMASK]")
WRITE = Write((9, 10), "[gMASK]", "bidirectional", Decode())
DRAWN = replace(WRITE, draw=1)
SEARCHED = replace(WRITE, decode=Decode(beams=4))


def decoded(write: Write, **changes: Any) -> Write:
    return replace(write, decode=write.decode.model_copy(update=changes))


DIFFERENT: list[Request] = [
    CHOOSE,
    replace(CHOOSE, text=(9, 11)),
    replace(CHOOSE, text=(9,), options=((10, 11), (12, 13))),
    replace(CHOOSE, options=((11,), (12, 14))),
    replace(CHOOSE, options=((11, 12), (13,))),
    replace(CHOOSE, options=((12, 13), (11,))),
    replace(CHOOSE, mask="[MASK]"),
    replace(CHOOSE, attention="unidirectional"),
    PREDICT,
    replace(PREDICT, tokens=(9, 10, 11, 13)),
    replace(PREDICT, prompt=2),
    replace(PREDICT, counted=1),
    replace(PREDICT, mask="[MASK]"),
    WRITE,
    replace(WRITE, text=(9,)),
    replace(WRITE, mask="[MASK]"),
    replace(WRITE, attention="unidirectional"),
    decoded(WRITE, max_new_tokens=5),
    decoded(WRITE, stop=("\n",)),
    SEARCHED,
    decoded(SEARCHED, beams=5),
    decoded(SEARCHED, length_penalty=0.5),
    decoded(SEARCHED, length_penalty_base="total"),
    decoded(SEARCHED, no_repeat_ngram=3),
    decoded(SEARCHED, filter="lambada"),
    decoded(SEARCHED, stop=("\n",)),
    DRAWN,
    replace(DRAWN, draw=2),
    decoded(DRAWN, seed=1),
    decoded(DRAWN, temperature=0.5),
    decoded(DRAWN, top_p=0.5),
    decoded(DRAWN, max_new_tokens=5),
]

SAME: list[tuple[Request, Request]] = [
    (CHOOSE, replace(CHOOSE, cut=5)),
    (WRITE, decoded(WRITE, seed=3, temperature=0.5, top_p=0.2, samples=25, length_penalty=3.0)),
    (SEARCHED, decoded(SEARCHED, seed=3, temperature=0.5, samples=25)),
    (DRAWN, decoded(DRAWN, samples=25, beams=4)),
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "eval" / "answers.jsonl"


def test_requests_that_differ_are_stored_apart(path: Path) -> None:
    with AnswerStore(path, identity()) as store:
        assert len({store.key(request) for request in DIFFERENT}) == len(DIFFERENT)
        for one, other in SAME:
            assert store.key(one) == store.key(other)


def test_models_that_differ_are_told_apart(path: Path) -> None:
    others = [
        identity(weights="v"),
        identity(tokenizer="u"),
        identity(precision={"bits": 4}),
        identity(config={"conventions": "official"}),
    ]
    assert {field.name for field in fields(Identity)} == {"weights", "tokenizer", "precision", "config", "device"}
    with AnswerStore(path, identity()) as store:
        store.add([(store.key(request), Answer(text=str(n))) for n, request in enumerate(DIFFERENT)])
    for other in others:
        with AnswerStore(path, other) as store:
            assert len(store) == len(DIFFERENT)
            assert not [request for request in DIFFERENT if store.key(request) in store]
    with AnswerStore(path, identity(device="cuda")) as store:
        assert [store[store.key(request)].text for request in DIFFERENT] == [*map(str, range(len(DIFFERENT)))]


ANSWERS = st.builds(
    Answer, log_probs=st.lists(st.floats(allow_nan=False, max_value=0), min_size=1, max_size=4).map(tuple)
) | st.builds(Answer, text=st.text(st.characters(exclude_categories=["Cs"])), ended=st.booleans())


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=st.lists(st.lists(st.tuples(st.text("abc", min_size=1), ANSWERS), min_size=1, max_size=4), max_size=5))
def test_what_is_written_is_read_again(tmp_path: Path, batches: list[list[tuple[str, Answer]]]) -> None:
    path = tmp_path / "answers.jsonl"
    path.unlink(missing_ok=True)
    expected: dict[str, Answer] = {}
    for batch in batches:
        with AnswerStore(path, identity()) as store:
            store.add(batch)
            expected |= dict(batch)
            assert {key: store[key] for key in expected} == expected
    with AnswerStore(path, identity()) as store:
        assert {key: store[key] for key in expected} == expected
        assert len(store) == len(expected)


BATCHES = [
    [("a", Answer(log_probs=(-1.5, -math.inf)))],
    [("b", Answer(text='"好"\n…', ended=True)), ("c", Answer()), ("d", Answer(log_probs=(-0.1,)))],
    [("e", Answer(text="\u2028\r")), ("f", Answer(text="x"))],
]


def written(path: Path) -> list[int]:
    """Write ``BATCHES``; the file's size after each."""
    sizes = []
    with AnswerStore(path, identity()) as store:
        for batch in BATCHES:
            store.add(batch)
            sizes.append(path.stat().st_size)
    return sizes


def test_a_torn_batch_is_dropped_whole_wherever_it_is_torn(path: Path) -> None:
    sizes = written(path)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        done = sum(size <= length for size in sizes)
        known = [key for batch in BATCHES[:done] for key, _ in batch]
        with AnswerStore(path, identity()) as store:
            assert [key for key in "abcdef" if key in store] == known
            assert path.stat().st_size == ([0, *sizes][done])
            for batch in BATCHES[done:]:
                store.add(batch)
        with AnswerStore(path, identity()) as store:
            assert {key: store[key] for key in "abcdef"} == {key: answer for batch in BATCHES for key, answer in batch}


@pytest.mark.parametrize(
    ("number", "damage"),
    [
        *[(number, lambda line: b"") for number in (2, 3, 4, 6)],
        *[(number, lambda line: line[:-4]) for number in (2, 3, 4, 6)],
        *[(number, lambda line: b"\x00" * len(line)) for number in (2, 3, 4, 6)],
        *[(number, lambda line: b"[1]") for number in (2, 3, 4, 6)],
        *[(number, lambda line: line.replace(b'"key"', b'"kez"')) for number in (2, 3, 4, 6)],
        (4, lambda line: line.replace(b'"left": ', b'"left": 7')),
        (3, lambda line: line.replace(b'"text": ', b'"log_probs": ')),
        (4, lambda line: line.replace(b'"text": ""', b'"text": 3')),
        (2, lambda line: line.replace(b"[-1.5", b'["x"')),
    ],
)
def test_a_damaged_line_is_named(path: Path, number: int, damage: Callable[[bytes], bytes]) -> None:
    written(path)
    lines = path.read_bytes().split(b"\n")
    assert damage(lines[number - 1]) != lines[number - 1]
    lines[number - 1] = damage(lines[number - 1])
    path.write_bytes(b"\n".join(lines))
    before = path.read_bytes()
    with pytest.raises(DataError, match=rf"answers\.jsonl, line {number}, is damaged"):
        AnswerStore(path, identity())
    assert path.read_bytes() == before


def test_a_line_taken_out_of_a_batch_is_missed(path: Path) -> None:
    written(path)
    lines = path.read_bytes().split(b"\n")
    del lines[3]
    path.write_bytes(b"\n".join(lines))
    with pytest.raises(DataError, match="line 4, is damaged"):
        AnswerStore(path, identity())


@pytest.mark.parametrize("content", [b"results", b'{"a": 1}', b'{"key": "b", "left": 0}\n', b"\n"])
def test_other_files_are_left_alone(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(DataError, match="is not a file of answers"):
        AnswerStore(path, identity())
    assert path.read_bytes() == content


def test_answers_of_another_version(path: Path) -> None:
    written(path)
    path.write_bytes(path.read_bytes().replace(b'"format": 1', b'"format": 2'))
    with pytest.raises(DataError, match="format 2; this version reads format 1"):
        AnswerStore(path, identity())


def test_one_process_at_a_time(path: Path) -> None:
    with AnswerStore(path, identity()) as store:
        store.add(BATCHES[0])
        with pytest.raises(ResourceError, match="Another process is writing"):
            AnswerStore(path, identity())
        store.add(BATCHES[1])
    with AnswerStore(path, identity()) as store:
        assert len(store) == 4


def test_a_full_disk_leaves_the_file_as_it_was(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with AnswerStore(path, identity()) as store:
        store.add(BATCHES[0])
        before = path.read_bytes()

        def full(descriptor: int) -> None:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr("os.fsync", full)
            with pytest.raises(ResourceError, match="No space left"):
                store.add(BATCHES[1])
        assert path.read_bytes() == before
        assert "b" not in store
        store.add(BATCHES[1])
    with AnswerStore(path, identity()) as store:
        assert "d" in store


class Counting(Engine):
    """Writes down what it is asked."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.asked: list[Request] = []

    def answer(self, requests: Sequence[Request]) -> Iterator[list[tuple[int, Answer]]]:
        for batch in super().answer(requests):
            self.asked += [requests[n] for n, _ in batch]
            yield batch


REQUESTS: list[Request] = [
    *[Choose((9,) * n, ((10,), (11, 12)), "[gMASK]") for n in (3, 30, 8, 8, 21)],
    Choose((9, TINY_SPECIAL.mask), ((10,), (11,)), "[MASK]"),
    PREDICT,
    *[Write((9,) * n, "[gMASK]", "bidirectional", Decode(max_new_tokens=4), draw) for n in (2, 5) for draw in (0, 1)],
]


def test_nothing_is_asked_twice(tiny: GLM, path: Path) -> None:
    engine = Counting(tiny, TINY_NUMBERS, batch_tokens=40)
    seen: list[Progress] = []
    with AnswerStore(path, identity()) as store:
        first = answer_all(engine, store, REQUESTS, seen.append)
    assert len(engine.asked) == len(REQUESTS) - 1  # two are the same
    direct = {
        n: answer for batch in Engine(tiny, TINY_NUMBERS, batch_tokens=40).answer(REQUESTS) for n, answer in batch
    }
    for n, answer in enumerate(first):
        assert answer.log_probs == pytest.approx(direct[n].log_probs, abs=1e-5)
        assert (answer.text, answer.ended) == (direct[n].text, direct[n].ended)
    assert seen[0].done == 0
    assert (seen[0].total, seen[-1].done) == (len(REQUESTS) - 1,) * 2
    assert (seen[-1].tokens_left, seen[-1].seconds_left) == (0, 0)
    assert [step.tokens_done + step.tokens_left for step in seen] == [seen[0].tokens_left] * len(seen)
    with AnswerStore(path, identity()) as store:
        assert answer_all(engine, store, list(reversed(REQUESTS)), seen.append) == first[::-1]
    assert len(engine.asked) == len(REQUESTS) - 1
    assert (seen[-1].done, seen[-1].total, seen[-1].reused) == (len(REQUESTS) - 1,) * 3


def test_a_change_of_precision_asks_anew(tiny: GLM, path: Path) -> None:
    for changed in (identity(), identity(precision={"bits": 8}), identity(weights="v")):
        engine = Counting(tiny, TINY_NUMBERS)
        with AnswerStore(path, changed) as store:
            answer_all(engine, store, REQUESTS[:5])
        assert len(engine.asked) == 4


def test_time_left_follows_from_tokens_of_each_kind() -> None:
    now = [100.0]
    reads: list[Request] = [replace(CHOOSE, text=(9,) * n) for n in (90, 40)]
    writes: list[Request] = [replace(WRITE, text=(9,) * n) for n in (10, 20)]
    sizes = [tokens_of(request) for request in [*reads, *writes]]
    assert sizes == [94, 44, 138, 148]
    meter = Meter([*reads, *writes], reused=3, clock=lambda: now[0])
    start = meter.progress()
    assert (start.done, start.total, start.reused, start.seconds_left, start.rate) == (3, 7, 3, None, 0.0)
    now[0] += 9.4
    meter.answered(reads[:1])
    step = meter.progress()
    assert (step.done, step.tokens_done, step.tokens_left) == (4, 94, 44 + 138 + 148)
    assert step.seconds_left == pytest.approx((44 + 138 + 148) / 10)
    assert step.rate == pytest.approx(1 / 9.4)
    now[0] += 138
    meter.answered(writes[:1])
    assert meter.progress().seconds_left == pytest.approx(44 / 10 + 148)
