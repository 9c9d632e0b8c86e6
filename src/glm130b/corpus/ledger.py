"""The ledger of a built corpus: sums over its parts, stage by stage, and what they have to agree with."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from glm130b.corpus.samples import Samples

SCHEMA = 1

FILTERS = ("read", "normalise", "language", "quality", "exact", "near", "contamination")
"""Where a document can be dropped, in order."""

_MAX_LICENSES = 100
"""Of a source, that are listed one by one."""

_SUMS = ("documents", "source_bytes", "num_bytes", "num_tokens", "kept_bytes", "kept_tokens", "is_changed")

Row = dict[str, Any]
"""JSON."""


Group = tuple[str, str, dict[str, int]]
"""Stage, reason and sums of some documents."""


class Tally:
    """Adds up what stage ``write`` says of each part."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str], dict[tuple[str, str], dict[str, int]]] = {}
        self._licenses: dict[str, dict[str, list[int]]] = {}
        self._samples: dict[str, Samples] = {}
        self.shards: list[Row] = []

    def add(self, source: str, facts: Row) -> None:
        """Take the ``facts.json`` of a part."""
        self._samples.setdefault(source, Samples()).merge(facts["samples"])
        self.shards += facts["shards"]
        for row in facts["counts"]:
            groups = self._counts.setdefault((source, row["language"]), {})
            sums = groups.setdefault((row["stage"], row["reason"]), dict.fromkeys(_SUMS, 0))
            for name in _SUMS:
                sums[name] += row[name]
        licenses = self._licenses.setdefault(source, {})
        for name, numbers in facts["licenses"].items():
            found = licenses.setdefault(name, [0, 0])
            found[:] = [a + b for a, b in zip(found, numbers, strict=True)]

    def sources(self) -> list[Row]:
        """The way of each source's documents through the stages, by language."""
        places = {source: place for place, source in enumerate(self._samples)}
        ranks = {"en": 0, "zh": 1}
        found = sorted(self._counts, key=lambda group: (places[group[0]], ranks.get(group[1], 2), group[1]))
        return [
            {"source": source, "language": language, **_funnel(_rows([self._counts[source, language]]))}
            for source, language in found
        ]

    def total(self) -> Row:
        """The same for all documents together."""
        return _funnel(_rows(self._counts.values()))

    def samples(self) -> list[Row]:
        """Samples of what was dropped."""
        return [{"source": source, **row} for source, found in self._samples.items() for row in found.rows()]

    def licenses(self) -> list[Row]:
        """The hundred licences of each source that most of what was kept is under, and the sum of all others."""
        found = []
        for source, licenses in self._licenses.items():
            rows = sorted(licenses.items(), key=lambda item: (-item[1][1], item[0]))
            for name, (documents, tokens) in rows[:_MAX_LICENSES]:
                found.append({"source": source, "license": name, "documents": documents, "tokens": tokens})
            if others := [numbers for _, numbers in rows[_MAX_LICENSES:]]:
                documents, tokens = map(sum, zip(*others, strict=True))
                row = {"source": source, "license": f"{len(others)} others", "is_sum": True}
                found.append({**row, "documents": documents, "tokens": tokens})
        return found


def _rows(counts: Iterable[dict[tuple[str, str], dict[str, int]]]) -> list[Group]:
    return [(stage, reason, sums) for groups in counts for (stage, reason), sums in groups.items()]


def _funnel(rows: list[Group]) -> Row:
    """Documents, bytes and tokens into and out of each stage: what came in was dropped, changed away or goes out."""
    left = rows
    stages = []
    for stage in FILTERS:
        bytes_in = "source_bytes" if stage in ("read", "normalise") else "num_bytes"
        bytes_out = {"read": "source_bytes", "contamination": "kept_bytes"}.get(stage, "num_bytes")
        tokens_out = "kept_tokens" if stage == "contamination" else "num_tokens"
        dropped = [row for row in left if row[0] == stage]
        kept = [row for row in left if row[0] != stage]
        unchanged, out = _sum(kept, bytes_in, "num_tokens"), _sum(kept, bytes_out, tokens_out)
        stages.append(
            {
                "stage": stage,
                "in": _sum(left, bytes_in, "num_tokens"),
                "out": out,
                "dropped": _by_reason(dropped, bytes_in),
                "changed_bytes": unchanged["bytes"] - out["bytes"],
                "changed_tokens": unchanged["tokens"] - out["tokens"],
            }
        )
        left = kept
    return {
        "stages": stages,
        "changed_by_normalisation": sum(sums["is_changed"] for _, _, sums in rows),
        "train": _sum([row for row in left if row[0] == "train"], "kept_bytes", "kept_tokens"),
        "heldout": _sum([row for row in left if row[0] == "heldout"], "kept_bytes", "kept_tokens"),
    }


def _by_reason(rows: Sequence[Group], bytes_in: str) -> Row:
    found: dict[str, list[Group]] = {}
    for row in rows:
        found.setdefault(row[1], []).append(row)
    return {reason: _sum(found[reason], bytes_in, "num_tokens") for reason in sorted(found)}


def _sum(rows: Iterable[Group], num_bytes: str, num_tokens: str) -> dict[str, int]:
    names = {"documents": "documents", "bytes": num_bytes, "tokens": num_tokens}
    found = [sums for _, _, sums in rows]
    return {name: sum(sums[field] for sums in found) for name, field in names.items()}


def fingerprint(shards: Iterable[Row]) -> str:
    """SHA-256 in hex over names and contents of all shards: the same if and only if the corpus is."""
    digest = hashlib.sha256()
    for shard in sorted(shards, key=lambda shard: str(shard["file"])):
        digest.update(f"{shard['file']} {shard['sha256']}\n".encode())
    return digest.hexdigest()


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
