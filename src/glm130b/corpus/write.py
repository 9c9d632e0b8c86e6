"""Stage ``write``: the token shards of what is left of a part, and a line for each of its documents."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Sequence
from functools import lru_cache
from io import TextIOWrapper
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from glm130b.corpus.clean import Advance
from glm130b.corpus.duplicates import document_number, merge_matches
from glm130b.corpus.job import Job
from glm130b.corpus.records import DocumentTable, Outcome
from glm130b.corpus.samples import Samples, excerpt
from glm130b.corpus.shards import TokenShard, write_shard
from glm130b.errors import DataError
from glm130b.files import read_json, sha256_of_file, whole_folder, write_json

EXACT, NEAR = Outcome("exact", "exact duplicate"), Outcome("near", "near duplicate")
CONTAMINATED = Outcome("contamination", "contaminated")

_EXCERPT_TOKENS = 1000
_ADVANCE_DOCUMENTS = 1000


def write(job: Job, number: int, advance: Advance) -> None:
    """Write what is left of one part.

    Makes ``write/<number>/`` with the shards in folders by source and language, ``documents.jsonl.gz``,
    ``contamination.jsonl`` and ``facts.json``.

    Raises:
        DataError: an earlier result is damaged.
        ResourceError: the disk is full.
    """
    with whole_folder(job.result("write", number)) as folder:
        part = _Part(job, number)
        shards = list(part.write_shards(folder, advance))
        part.write_documents(folder / "documents.jsonl.gz")
        part.write_hits(folder / "contamination.jsonl")
        part.add_samples()
        counts = part.counts()
        facts = {"counts": counts, "licenses": part.licenses(), "samples": part.samples.rows(), "shards": shards}
        write_json(folder / "facts.json", facts)


class _Part:
    """The documents of a part and what becomes of each.

    Attributes:
        outcomes: why each was dropped, as a number in ``kinds``, 0 if it was not; uint32 ``[n]``.
        witnesses: number of the document that each of those in ``repeated`` repeats; uint64.
        places: where each stands in its shard, -1 if it was dropped; int32 ``[n]``.
    """

    def __init__(self, job: Job, number: int) -> None:
        self._job, self._number, self._source = job, number, job.parts[number].source
        self._table, self._tokens, self._starts = _opened(job, number)
        records = self._table.records
        self.kinds: list[Outcome | None] = [*self._table.outcomes, EXACT, NEAR, CONTAMINATED]
        exact, near, contaminated = range(len(self._table.outcomes), len(self.kinds))
        self.outcomes: NDArray[np.uint32] = records["outcome"].astype(np.uint32)
        self.outcomes[(self.outcomes == 0) & records["is_contaminated"]] = contaminated
        matches = merge_matches([job.result("match", n) for n in range(job.num_tasks("match"))], number)
        self.repeated = (matches["document"] - np.uint64(document_number(number, 0))).astype(np.int64)
        self.witnesses: NDArray[np.uint64] = matches["witness"]
        self.outcomes[self.repeated] = np.where(matches["is_exact"], exact, near)
        self.places = np.full(len(records), -1, dtype=np.int32)
        self.samples = Samples()
        self.samples.merge(read_json(job.result("clean", number) / "samples.json", DataError))

    def write_shards(self, folder: Path, advance: Advance) -> Iterator[dict[str, Any]]:
        """Write the shards and tell of each file."""
        records = self._table.records
        vocab_size = self._job.tokenizer.vocab_size
        advance(len(records) - int((self.outcomes == 0).sum()), 0)
        for code in np.unique(records["language"][self.outcomes == 0]).tolist():
            language = self._table.languages[code]
            for split, is_heldout in (("train", False), ("heldout", True)):
                is_chosen = (self.outcomes == 0) & (records["language"] == code) & (records["is_heldout"] == is_heldout)
                chosen = np.flatnonzero(is_chosen)
                if not len(chosen):
                    continue
                self.places[chosen] = np.arange(len(chosen))
                prefix = folder / f"{self._source}.{language}" / f"{split}-{self._number:05d}"
                prefix.parent.mkdir(exist_ok=True)
                rows = cast("Iterator[Sequence[int]]", self._rows(chosen, advance))
                documents, tokens = write_shard(prefix, rows, vocab_size)
                for suffix in (".bin", ".idx"):
                    file = prefix.with_name(prefix.name + suffix)
                    yield {
                        "file": str(file.relative_to(folder)),
                        "bytes": file.stat().st_size,
                        "sha256": sha256_of_file(file),
                        "documents": documents,
                        "tokens": tokens,
                    }

    def _rows(self, chosen: NDArray[np.int64], advance: Advance) -> Iterator[NDArray[Any]]:
        waiting = tokens = 0
        for row in self._table.records["row"][chosen].tolist():
            ids = self._tokens.tokens[self._starts[row] : self._starts[row + 1]]
            yield ids
            waiting, tokens = waiting + 1, tokens + ids.nbytes
            if waiting == _ADVANCE_DOCUMENTS:
                advance(waiting, tokens)
                waiting = tokens = 0
        advance(waiting, tokens)

    def write_documents(self, path: Path) -> None:
        """A line of JSON for every document, kept or not."""
        witness_of = dict(zip(self.repeated.tolist(), self.witnesses.tolist(), strict=True))
        names = self._table.languages
        with path.open("wb") as raw, gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as packed:
            lines = TextIOWrapper(packed, encoding="utf-8", newline="\n")
            for index, document_id in enumerate(self._table.document_ids()):
                record = self._table.records[index]
                kind = self.kinds[self.outcomes[index]]
                line: dict[str, Any] = {
                    "id": document_id,
                    "source": self._source,
                    "language": names[record["language"]],
                    "license": self._table.licenses[record["license"]],
                    "part": self._number,
                    "index": index,
                    "source_bytes": int(record["source_bytes"]),
                    "bytes": int(record["kept_bytes"] or record["num_bytes"]),
                    "tokens": int(record["kept_tokens"] or record["num_tokens"]),
                }
                if kind is None:
                    line |= {"outcome": "heldout" if record["is_heldout"] else "train", "row": int(self.places[index])}
                else:
                    line |= {"outcome": "dropped", "stage": kind.stage, "reason": kind.reason}
                if index in witness_of:
                    line["witness"] = self._witness(witness_of[index])
                lines.write(json.dumps(line, ensure_ascii=False) + "\n")
            lines.close()

    def write_hits(self, path: Path) -> None:
        """The overlaps with evaluation sets of all documents that are no duplicates, and samples of the dropped."""
        duplicates = set(self.repeated.tolist())
        found = (self._job.result("clean", self._number) / "hits.jsonl").open(encoding="utf-8")
        with found, path.open("w", encoding="utf-8") as kept:
            for line in found:
                hit = json.loads(line)
                if hit["index"] in duplicates:
                    continue
                kept.write(json.dumps(hit["record"], ensure_ascii=False) + "\n")
                if hit["record"]["action"] == "dropped document":
                    record, index = hit["record"], hit["index"]
                    language = self._table.languages[self._table.records["language"][index]]
                    item = f"{record['task']}, {record['item']}"
                    self.samples.add(language, CONTAMINATED, record["document"], hit["passage"], item=item)

    def add_samples(self) -> None:
        """Keep samples of duplicates, beside the documents they repeat."""
        for index, witness in zip(self.repeated.tolist(), self.witnesses.tolist(), strict=True):
            language = self._table.languages[self._table.records["language"][index]]
            outcome = self.kinds[self.outcomes[index]]
            if outcome is not None and self.samples.wants(language, outcome):
                text = _beginning(self._job, self._number, index)
                part, place = divmod(witness, document_number(1, 0))
                other = {"id": self._witness(witness)["id"], "excerpt": _beginning(self._job, part, place)}
                self.samples.add(language, outcome, self._table.document_id(index), text, witness=other)

    def counts(self) -> list[dict[str, Any]]:
        """Sums over the documents of each language and outcome."""
        records = self._table.records
        is_heldout = records["is_heldout"] & (self.outcomes == 0)
        key = (records["language"].astype(np.int64) * len(self.kinds) + self.outcomes) * 2 + is_heldout
        groups, group_of, documents = np.unique(key, return_inverse=True, return_counts=True)
        names = ("source_bytes", "num_bytes", "num_tokens", "kept_bytes", "kept_tokens", "is_changed")
        sums = {name: _sums(group_of, records[name], len(groups)) for name in names}
        rows = []
        for group, count in enumerate(documents.tolist()):
            rest, split = divmod(int(groups[group]), 2)
            language, code = divmod(rest, len(self.kinds))
            outcome = self.kinds[code]
            rows.append(
                {
                    "language": self._table.languages[language],
                    "stage": ("train", "heldout")[split] if outcome is None else outcome.stage,
                    "reason": "" if outcome is None else outcome.reason,
                    "documents": count,
                    **{name: sums[name][group] for name in names},
                }
            )
        return rows

    def licenses(self) -> dict[str, list[int]]:
        """Documents and tokens kept under each licence."""
        records = self._table.records[self.outcomes == 0]
        codes, group_of, documents = np.unique(records["license"], return_inverse=True, return_counts=True)
        tokens = _sums(group_of, records["kept_tokens"], len(codes))
        rows = zip(codes.tolist(), documents.tolist(), tokens, strict=True)
        return {self._table.licenses[code]: [count, num_tokens] for code, count, num_tokens in rows}

    def _witness(self, number: int) -> dict[str, Any]:
        part, index = divmod(number, document_number(1, 0))
        table, _, _ = _opened(self._job, part)
        return {"id": table.document_id(index), "part": part, "index": index}


def _sums(group_of: NDArray[np.int64], values: NDArray[Any], num_groups: int) -> list[int]:
    """Sum of the values of each group, exact as long as it is below 2^53."""
    return [int(total) for total in np.bincount(group_of, weights=values, minlength=num_groups)]


@lru_cache(maxsize=16)
def _opened(job: Job, number: int) -> tuple[DocumentTable, TokenShard, NDArray[np.int64]]:
    """The table and tokens of a part, and where each document's tokens start, int64 ``[rows + 1]``."""
    place = job.result("clean", number)
    shard = TokenShard(place / "tokens")
    starts = np.concatenate(([0], np.cumsum(shard.lengths, dtype=np.int64)))
    return DocumentTable(place), shard, starts


def _beginning(job: Job, number: int, index: int) -> str:
    """The first words of a document, from its tokens."""
    table, shard, starts = _opened(job, number)
    row = int(table.records["row"][index])
    ids = shard.tokens[starts[row] : starts[row + 1]][:_EXCERPT_TOKENS]
    return excerpt(job.tokenizer.decode(ids.tolist(), skip_special=True).rstrip("\ufffd"))
