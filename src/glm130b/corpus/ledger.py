"""The ledger of a built corpus: sums over its parts, stage by stage, and what they have to agree with."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from glm130b.corpus.samples import Samples
from glm130b.corpus.write import sha256
from glm130b.errors import DataError
from glm130b.files import read_json

LEDGER = "data_ledger.json"
SCHEMA = 1

FILTERS = ("read", "normalise", "language", "quality", "exact", "near", "contamination")
"""Where a document can be dropped, in order."""

_SUMS = ("documents", "source_bytes", "num_bytes", "num_tokens", "kept_bytes", "kept_tokens", "is_changed")

Row = dict[str, Any]
"""JSON."""


class Tally:
    """Adds up what stage ``write`` says of each part."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str, str, str], dict[str, int]] = {}
        self._licenses: dict[str, list[int]] = {}
        self._samples: dict[str, Samples] = {}
        self.shards: list[Row] = []

    def add(self, source: str, facts: Row) -> None:
        """Take the ``facts.json`` of a part."""
        self._samples.setdefault(source, Samples()).merge(facts["samples"])
        self.shards += facts["shards"]
        for row in facts["counts"]:
            kind = (source, row["language"], row["stage"], row["reason"])
            sums = self._counts.setdefault(kind, dict.fromkeys(_SUMS, 0))
            for name in _SUMS:
                sums[name] += row[name]
        for name, numbers in facts["licenses"].items():
            found = self._licenses.setdefault(name, [0, 0])
            found[:] = [a + b for a, b in zip(found, numbers, strict=True)]

    def sources(self) -> list[Row]:
        """The way of each source's documents through the stages, by language."""
        groups = sorted({(source, language) for source, language, _, _ in self._counts}, key=self._order)
        return [
            {"source": source, "language": language, **_funnel(self._rows(source, language))}
            for source, language in groups
        ]

    def total(self) -> Row:
        """The same for all documents together."""
        return _funnel([(stage, reason, sums) for (_, _, stage, reason), sums in self._counts.items()])

    def samples(self) -> list[Row]:
        """Samples of what was dropped."""
        return [{"source": source, **row} for source, found in self._samples.items() for row in found.rows()]

    def licenses(self) -> list[Row]:
        """Licences of what was kept, the most frequent first."""
        rows = sorted(self._licenses.items(), key=lambda item: (-item[1][1], item[0]))
        return [{"license": name, "documents": numbers[0], "tokens": numbers[1]} for name, numbers in rows]

    def _rows(self, source: str, language: str) -> list[tuple[str, str, dict[str, int]]]:
        return [(key[2], key[3], sums) for key, sums in self._counts.items() if key[:2] == (source, language)]

    def _order(self, group: tuple[str, str]) -> tuple[int, int, str]:
        source, language = group
        rank = {"en": 0, "zh": 1}.get(language, 2)
        return list(self._samples).index(source), rank, language


def _funnel(rows: Iterable[tuple[str, str, dict[str, int]]]) -> Row:
    """Documents, bytes and tokens into and out of each stage."""
    left = rows = sorted(rows, key=lambda row: row[:2])
    stages = []
    for stage in FILTERS:
        bytes_in = "source_bytes" if stage in ("read", "normalise") else "num_bytes"
        bytes_out = {"read": "source_bytes", "contamination": "kept_bytes"}.get(stage, "num_bytes")
        tokens_out = "kept_tokens" if stage == "contamination" else "num_tokens"
        dropped = [row for row in left if row[0] == stage]
        kept = [row for row in left if row[0] != stage]
        stages.append(
            {
                "stage": stage,
                "in": _sum(left, bytes_in, "num_tokens"),
                "out": _sum(kept, bytes_out, tokens_out),
                "dropped": _by_reason(dropped, bytes_in),
            }
        )
        left = kept
    return {
        "stages": stages,
        "changed_by_normalisation": sum(sums["is_changed"] for _, _, sums in rows),
        "train": _sum([row for row in left if row[0] == "train"], "kept_bytes", "kept_tokens"),
        "heldout": _sum([row for row in left if row[0] == "heldout"], "kept_bytes", "kept_tokens"),
    }


def _by_reason(rows: Sequence[tuple[str, str, dict[str, int]]], bytes_in: str) -> Row:
    reasons = sorted({reason for _, reason, _ in rows})
    return {reason: _sum([row for row in rows if row[1] == reason], bytes_in, "num_tokens") for reason in reasons}


def _sum(rows: Iterable[tuple[str, str, dict[str, int]]], num_bytes: str, num_tokens: str) -> dict[str, int]:
    names = {"documents": "documents", "bytes": num_bytes, "tokens": num_tokens}
    found = [sums for _, _, sums in rows]
    return {name: sum(sums[field] for sums in found) for name, field in names.items()}


def fingerprint(shards: Iterable[Row]) -> str:
    """SHA-256 in hex over names and contents of all shards: the same if and only if the corpus is."""
    digest = hashlib.sha256()
    for shard in sorted(shards, key=lambda shard: str(shard["file"])):
        digest.update(f"{shard['file']} {shard['sha256']}\n".encode())
    return digest.hexdigest()


def read_ledger(folder: Path) -> Row:
    """The ledger of a corpus that ``build`` made.

    Raises:
        DataError: it is missing, damaged or of another kind.
    """
    ledger = read_json(folder / LEDGER, DataError)
    if not isinstance(ledger, dict) or ledger.get("schema") != SCHEMA:
        raise DataError(
            f"{folder / LEDGER} is not the ledger of a built corpus of this version.",
            "Give a folder that `glm data build` wrote, or build it again.",
        )
    return ledger


def verify(folder: Path) -> list[str]:
    """Compare every file of a built corpus with its ledger.

    Returns:
        A sentence for each file that is missing or damaged.

    Raises:
        DataError: there is no ledger.
    """
    ledger = read_ledger(folder)
    faults = [fault for row in [*ledger["shards"], *ledger["files"]] if (fault := _fault(folder, row))]
    if fingerprint(ledger["shards"]) != ledger["fingerprint"]:
        faults.append(f"{LEDGER} does not agree with itself: its fingerprint is not that of its shards.")
    return faults


def _fault(folder: Path, row: Row) -> str | None:
    path = folder / row["file"]
    try:
        size = path.stat().st_size
        if size != row["bytes"]:
            return f"{path} has {size} bytes, not {row['bytes']}."
        return None if sha256(path) == row["sha256"] else f"{path} has other contents than were written."
    except FileNotFoundError:
        return f"{path} is missing."
    except OSError as error:
        return f"{path} cannot be read: {error.strerror}."


def contamination_by_task(path: Path) -> dict[str, Row]:
    """Sums over the lines of a ``contamination.jsonl``; memory grows with the items found."""
    tasks: dict[str, Row] = {}
    items: dict[str, set[str]] = {}
    last: dict[str, Any] = {}
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            hit = json.loads(line)
            task = hit["task"]
            row = tasks.setdefault(task, {"passages": 0, "documents": 0, "items_found": 0, "acted_on": 0})
            row["passages"] += 1
            row["acted_on"] += hit["action"] != "logged"
            row["documents"] += last.get(task) != (hit["source"], hit["document"])
            last[task] = (hit["source"], hit["document"])
            items.setdefault(task, set()).add(hit["item"])
    for task, found in items.items():
        tasks[task]["items_found"] = len(found)
    return dict(sorted(tasks.items()))
