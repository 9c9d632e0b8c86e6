"""The files of an index of evaluation items: which texts an n-gram is of, and which items a text is of."""

from __future__ import annotations

import json
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glm130b.corpus.evaluation_items import Item
from glm130b.corpus.normalise import normalise
from glm130b.corpus.units import Hashes, units

ARRAYS = ("hashes", "first_texts", "texts", "sizes", "first_items", "items", "places", "filter")
"""N-grams in ascending order, and for each where its texts begin in ``texts``; for each text the number of its
n-grams, and where its items begin in ``items``; where each item's name begins in ``names.jsonl``; and a bit for
the low bits of every n-gram, which almost all n-grams of other texts fail."""

_MAX_TEXTS = 20
"""An n-gram of more different texts than this is their common wording, and says nothing about any of them."""

_BATCH = 1 << 20
"""Characters cut into units at once."""


def write_index(items: Iterable[Item], folder: Path, n: int) -> dict[str, Any]:
    """Write the arrays and names of an index.

    Returns:
        ``tasks`` and ``ngrams``, as in ``EvaluationIndex.facts``.
    """
    numbers: dict[int, int] = {}
    hashes, owners = array("Q"), array("i")
    pairs_text, pairs_item = array("i"), array("i")
    places, tasks = array("q"), list[str]()
    with (folder / "names.jsonl").open("wb") as names:
        for item, texts in _item_texts(items, n):
            for key, grams in texts:
                if key not in numbers:
                    numbers[key] = len(numbers)
                    hashes.frombytes(grams.tobytes())
                    owners.frombytes(np.full(len(grams), numbers[key], dtype=np.int32).tobytes())
                pairs_text.append(numbers[key])
                pairs_item.append(len(tasks))
            places.append(names.tell())
            names.write(json.dumps([item.task, item.name], ensure_ascii=False).encode() + b"\n")
            tasks.append(item.task)
        places.append(names.tell())
        names.write(b"\n")
    gram_arrays, sizes = _by_ngram(_numpy(hashes, np.uint64), _numpy(owners, np.int32), len(numbers))
    text_of, item_of = _numpy(pairs_text, np.int32), _numpy(pairs_item, np.int32)
    order = np.argsort(text_of, kind="stable")
    first_items = np.searchsorted(text_of[order], np.arange(len(numbers) + 1))
    arrays: dict[str, NDArray[Any]] = {
        **gram_arrays,
        "sizes": sizes,
        "first_items": first_items,
        "items": item_of[order],
        "places": _numpy(places, np.int64),
    }
    for name in ARRAYS:
        np.save(folder / f"{name}.npy", arrays[name])
    return {"tasks": _count(tasks, item_of, item_of[sizes[text_of] > 0]), "ngrams": len(arrays["hashes"])}


def _count(tasks: list[str], with_ngrams: NDArray[np.int32], findable: NDArray[np.int32]) -> dict[str, dict[str, int]]:
    """For each task its items, and how many of them cannot be found for which reason."""
    has_ngram, can_be_found = (np.zeros(len(tasks), dtype=bool) for _ in range(2))
    has_ngram[with_ngrams], can_be_found[findable] = True, True
    counts: dict[str, Counter[str]] = {}
    for task, long_enough, found in zip(tasks, has_ngram.tolist(), can_be_found.tolist(), strict=True):
        own = counts.setdefault(task, Counter(items=0, too_short=0, common=0))
        own.update(items=1, too_short=int(not long_enough), common=int(long_enough and not found))
    return {task: {**own, "indexed": own["items"] - own["too_short"] - own["common"]} for task, own in counts.items()}


def _by_ngram(
    keys: Hashes, owners: NDArray[np.int32], num_texts: int
) -> tuple[dict[str, NDArray[Any]], NDArray[np.int64]]:
    """The arrays that are looked up by n-gram, without common wording, and the n-grams left to each text."""
    order = np.argsort(keys, kind="stable")
    keys, owners = keys[order], owners[order]
    unique, counts = np.unique(keys, return_counts=True)
    rare = counts <= _MAX_TEXTS
    owners = owners[np.repeat(rare, counts)]
    unique, counts = unique[rare], counts[rare]
    num_bits = 1 << max(10, (16 * max(1, len(unique)) - 1).bit_length())
    bitmap = np.zeros(num_bits // 8, dtype=np.uint8)
    low = unique & np.uint64(num_bits - 1)
    bits = np.uint8(1) << (low & np.uint64(7)).astype(np.uint8)
    np.bitwise_or.at(bitmap, (low >> np.uint64(3)).astype(np.int64), bits)
    firsts = np.concatenate(([0], np.cumsum(counts))).astype(np.int64)
    arrays: dict[str, NDArray[Any]] = {"hashes": unique, "first_texts": firsts, "texts": owners, "filter": bitmap}
    return arrays, np.bincount(owners, minlength=num_texts).astype(np.int64)


def _item_texts(items: Iterable[Item], n: int) -> Iterator[tuple[Item, list[tuple[int, Hashes]]]]:
    """Each item with those of its texts that have n-grams: a key that is the text's, and its distinct n-grams.

    Texts are normalised as documents are. Many are cut into units at once.
    """
    batch: list[Item] = []
    size = 0
    for item in items:
        batch.append(item)
        size += sum(map(len, item.texts))
        if size > _BATCH:
            yield from _batch_texts(batch, n)
            batch, size = [], 0
    yield from _batch_texts(batch, n)


def _batch_texts(batch: list[Item], n: int) -> Iterator[tuple[Item, list[tuple[int, Hashes]]]]:
    texts = [normalise(text) for item in batch for text in item.texts]
    cut = units("\n".join(texts))
    first_places = np.cumsum([0] + [len(text) + 1 for text in texts])
    text_of = np.searchsorted(first_places, cut.starts, side="right") - 1
    grams = cut.ngrams(n)
    inside = text_of[: len(grams)] == text_of[len(text_of) - len(grams) :]
    grams = grams[inside]
    bounds = np.searchsorted(text_of[: len(inside)][inside], np.arange(len(texts) + 1))
    number = 0
    for item in batch:
        found = []
        for _ in item.texts:
            own = np.unique(grams[bounds[number] : bounds[number + 1]])
            if len(own):
                found.append((hash(own.tobytes()), own))
            number += 1
        yield item, found


def _numpy(values: array[int], kind: type[np.generic]) -> NDArray[Any]:
    return np.frombuffer(values, dtype=kind) if len(values) else np.zeros(0, dtype=kind)
