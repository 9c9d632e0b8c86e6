"""Duplicates against pairs compared one by one, and signatures against datasketch."""

from __future__ import annotations

import random
import tempfile
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pytest
from datasketch import MinHash
from hypothesis import given, settings
from hypothesis import strategies as st

from glm130b.config import DuplicatesConfig
from glm130b.corpus.duplicates import (
    MATCH,
    KeyRun,
    Signer,
    document_number,
    find_duplicates,
    merge_matches,
    plan_ranges,
    write_matches,
)
from glm130b.corpus.units import units

Found = dict[int, tuple[int, bool]]
"""Document -> witness and whether it is exact."""

WORDS = [a + b + c for a in "bdfgklmnprst" for b in "aeiou" for c in ("n", "r", "st", "l")]
CHARACTERS = [chr(point) for point in range(0x4E00, 0x4E00 + 900)]


def removed(folder: Path, texts: list[str], *, parts: int = 3, max_keys: int = 40, **config: object) -> Found:
    """The whole way over files, in several parts and ranges."""
    signer = Signer(DuplicatesConfig(**config))
    numbers, files = [], []
    for part in range(parts):
        run = KeyRun()
        for index, text in enumerate(texts[part * len(texts) // parts : (part + 1) * len(texts) // parts]):
            numbers.append(document_number(part, index))
            run.add(numbers[-1], signer.keys(units(text)))
        files.append(folder / f"{part}.keys")
        run.write(files[-1])
    matches = []
    for low, high in plan_ranges(files, max_keys):
        matches.append(folder / f"{low}.matches")
        write_matches(matches[-1], find_duplicates(files, low, high))
    place = {number: index for index, number in enumerate(numbers)}
    rows = [row for part in range(parts) for row in merge_matches(matches, part).tolist()]
    assert [row[0] for row in rows] == sorted({row[0] for row in rows})
    return {place[document]: (place[witness], exact) for document, witness, exact in rows}


def jaccard(first: str, second: str, n: int) -> float:
    """Of the sets of runs of n words or characters, straight from the text."""

    def shingles(text: str) -> set[tuple[str, ...]]:
        parts = text.lower().split() if " " in text else list(text)
        return {tuple(parts[i : i + n]) for i in range(len(parts) - n + 1)}

    a, b = shingles(first), shingles(second)
    return len(a & b) / len(a | b)


def variants(rng: random.Random, alphabet: list[str], joint: str, count: int) -> list[str]:
    """Texts and copies of them with a few places changed."""
    texts = []
    for _ in range(count):
        base = [rng.choice(alphabet) for _ in range(rng.randint(150, 300))]
        for changes in (0, 1, 2, 4, 8, 20, 60):
            copy = list(base)
            for _ in range(changes):
                copy[rng.randrange(len(copy))] = rng.choice(alphabet)
            texts.append(joint.join(copy))
    rng.shuffle(texts)
    return texts


@pytest.mark.parametrize(("alphabet", "joint", "n"), [(WORDS, " ", 5), (CHARACTERS, "", 8)])
def test_against_every_pair(tmp_path: Path, alphabet: list[str], joint: str, n: int) -> None:
    texts = variants(random.Random(3), alphabet, joint, 8)
    found = removed(tmp_path, texts)
    similar = {(a, b): jaccard(texts[a], texts[b], n) for a, b in combinations(range(len(texts)), 2)}
    assert {b for (a, b), share in similar.items() if share > 0.9} <= found.keys()
    assert 20 < len(found) < len(texts) - 8
    for document, (witness, exact) in found.items():
        assert witness < document
        assert similar[witness, document] > 0.4
        assert exact == (texts[witness] == texts[document])
    assert all(share < 0.9 for (a, b), share in similar.items() if b not in found)


def test_the_first_of_a_text_stays_whatever_folding_hides(tmp_path: Path) -> None:
    texts = [
        "Hello, World: the end!",
        "其他",
        "hello world -- THE END",
        "ｈｅｌｌｏ world the\nend.",
        "漢字測試",
        "汉字测试",
        "Hello",
    ]
    assert removed(tmp_path, texts) == {2: (0, True), 3: (0, True), 5: (4, True)}
    assert removed(tmp_path, texts, exact=False) == {}


def test_near_and_exact_can_be_turned_off(tmp_path: Path) -> None:
    base = [WORDS[n % len(WORDS)] for n in range(0, 2000, 7)]
    texts = [" ".join(base), " ".join([*base, "more"]), " ".join(base)]
    assert removed(tmp_path, texts) == {1: (0, False), 2: (0, True)}
    assert removed(tmp_path, texts, near=False) == {2: (0, True)}
    assert removed(tmp_path, texts, exact=False) == {1: (0, False), 2: (0, False)}
    assert removed(tmp_path, texts, exact=False, near=False) == {}


def test_without_units_nothing_is_a_duplicate(tmp_path: Path) -> None:
    assert removed(tmp_path, ["!!!", "???", "", "!!!", "a", "a"]) == {5: (4, True)}


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=2500), st.integers(1, 4), st.integers(1, 5))
def test_signature_equals_datasketch(shingles: list[int], bands: int, rows: int) -> None:
    hashes = np.array(shingles, dtype=np.uint64)
    expected = MinHash(num_perm=bands * rows, seed=1, scheme="affine32", hashfunc=lambda value: value & 0xFFFFFFFF)
    for value in shingles:
        expected.update(value)
    signature = Signer(DuplicatesConfig(bands=bands, rows=rows)).signature(hashes)
    assert signature.tolist() == expected.hashvalues.tolist()


def test_keys_of_a_document() -> None:
    signer = Signer(DuplicatesConfig())
    keys = signer.keys(units("one two three four five six")).tolist()
    assert len(keys) == len(set(keys)) == 15
    assert [key & 1 for key in keys] == [1] + [0] * 14
    assert len(signer.keys(units("one two three four"))) == 1
    assert signer.keys(units("one two three four five six seven")).tolist()[0] != keys[0]
    assert keys[0] != signer.keys(units("two one three four five six")).tolist()[0]


def test_a_shared_band_is_as_likely_as_the_formula_says() -> None:
    rng, rows, bands = random.Random(0), 4, 6
    signer = Signer(DuplicatesConfig(bands=bands, rows=rows))
    hits, expected = 0, 0.0
    for _ in range(400):
        both = [rng.getrandbits(64) for _ in range(60)]
        first, second = both + [rng.getrandbits(64) for _ in range(15)], both + [rng.getrandbits(64) for _ in range(25)]
        similarity = 60 / 100
        expected += 1 - (1 - similarity**rows) ** bands
        signatures = [signer.signature(np.array(s, dtype=np.uint64)).reshape(bands, rows) for s in (first, second)]
        hits += bool((signatures[0] == signatures[1]).all(axis=1).any())
    assert hits == pytest.approx(expected, abs=5 * (expected * (1 - expected / 400)) ** 0.5)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.lists(st.integers(0, 11), max_size=4), max_size=5), min_size=1, max_size=4),
    st.integers(1, 12),
)
def test_files_against_a_dictionary(parts: list[list[list[int]]], max_keys: int) -> None:
    """Keys from a small set, spread over the whole space; even ones count as near."""
    spread = [(n << 60) + (n % 2) for n in range(12)]
    first: dict[int, int] = {}
    expected: dict[int, tuple[bool, int]] = {}
    for part, documents in enumerate(parts):
        for index, keys in enumerate(documents):
            number = document_number(part, index)
            for key in keys:
                witness = first.setdefault(key, number)
                if witness != number:
                    expected[number] = min(expected.get(number, (True, 1 << 63)), (key % 2 == 0, witness))
    with tempfile.TemporaryDirectory() as name:
        files, matches = [], []
        for part, documents in enumerate(parts):
            run = KeyRun()
            for index, keys in enumerate(documents):
                run.add(document_number(part, index), np.array([spread[key] for key in keys], dtype=np.uint64))
            files.append(Path(name) / f"{part}.keys")
            run.write(files[-1])
        ranges = plan_ranges(files, max_keys)
        assert (ranges[0][0], ranges[-1][1]) == (0, 1 << 64)
        assert all(end == start for (_, end), (start, _) in pairwise(ranges))
        for low, high in ranges:
            matches.append(Path(name) / f"{low}.matches")
            arrays = list(find_duplicates(files, low, high))
            assert len(arrays) == len(files)
            assert write_matches(matches[-1], arrays) == sum(map(len, arrays))
        found = np.concatenate([merge_matches(matches, part) for part in range(len(parts))])
    assert found.dtype == MATCH
    assert {d: (not exact, w) for d, w, exact in found.tolist()} == expected


def test_the_outcome_does_not_depend_on_parts_and_ranges(tmp_path: Path) -> None:
    texts = variants(random.Random(5), WORDS, " ", 3)
    outcomes = []
    for parts, max_keys in ((1, 1 << 22), (3, 100), (7, 9)):
        folder = tmp_path / str(parts)
        folder.mkdir()
        outcomes.append(removed(folder, texts, parts=parts, max_keys=max_keys))
    assert outcomes[0] == outcomes[1] == outcomes[2]
    assert outcomes[0]
