"""Stage ``clean``: one part of the inputs, document by document, to a table, tokens, keys and hits."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from glm130b.config import BuildConfig
from glm130b.corpus.contamination import EvaluationIndex, Hit
from glm130b.corpus.documents import Document, Fault
from glm130b.corpus.duplicates import KeyRun, Signer, document_number
from glm130b.corpus.facts import check_unchanged
from glm130b.corpus.job import Job
from glm130b.corpus.language import language_of
from glm130b.corpus.normalise import normalise
from glm130b.corpus.parts import read_part
from glm130b.corpus.prepare import is_heldout
from glm130b.corpus.quality import judge
from glm130b.corpus.records import Outcome, TableWriter
from glm130b.corpus.samples import Samples
from glm130b.corpus.shards import write_shard
from glm130b.corpus.units import Units, units
from glm130b.corpus.verdict import decide
from glm130b.files import whole_folder, write_json
from glm130b.tokenization import Tokenizer

Advance = Callable[[int, int], None]
"""Told how many documents and bytes were dealt with."""

_RUN_DOCUMENTS = 1 << 17
"""Documents whose keys are held in memory and sorted together."""


def clean(job: Job, number: int, advance: Advance) -> None:
    """Read, normalise, filter, sign, search for evaluation items and tokenise the documents of one part.

    Makes ``clean/<number>/`` with ``documents.bin``, ``ids.bin`` and ``table.json`` (see ``records``),
    ``tokens.bin`` and ``tokens.idx`` of the documents that no filter dropped, ``keys-*.bin``, ``hits.jsonl``
    and ``samples.json``.

    Raises:
        DataError: a file of the part cannot be read, or is not as it was when the build began.
        ResourceError: the disk is full.
    """
    tools = _tools(job)
    with whole_folder(job.result("clean", number)) as folder, _Cleaner(job, number, folder, tools) as cleaner:
        write_shard(folder / "tokens", cleaner.rows(advance), tools.tokenizer.vocab_size)


@dataclass(frozen=True)
class _Tools:
    """What a process opens once."""

    tokenizer: Tokenizer
    signer: Signer
    index: EvaluationIndex | None


@lru_cache(maxsize=1)
def _tools(job: Job) -> _Tools:
    index = EvaluationIndex(job.evaluation) if job.recipe.contamination.against else None
    return _Tools(job.tokenizer, Signer(job.recipe.duplicates), index)


class _Cleaner:
    """The open files of one part."""

    def __init__(self, job: Job, number: int, folder: Path, tools: _Tools) -> None:
        self._job, self._number, self._folder, self._tools = job, number, folder, tools
        self._recipe: BuildConfig = job.recipe
        self._source = job.parts[number].source
        self._settings = job.recipe.active_sources[self._source]
        self._heldout = job.recipe.heldout if self._settings.heldout is None else self._settings.heldout
        self._table = TableWriter(folder)
        self._hits = (folder / "hits.jsonl").open("w", encoding="utf-8")
        self._samples = Samples()
        self._keys, self._num_runs, self._num_rows = KeyRun(), 0, 0

    def __enter__(self) -> Self:
        self._table.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._hits:
            self._table.__exit__(kind, error, trace)
        if kind is None:
            self._write_keys()
            write_json(self._folder / "samples.json", self._samples.rows())

    def rows(self, advance: Advance) -> Iterator[list[int]]:
        """The tokens of each document that passes; everything else is noted on the way."""
        part = self._job.parts[self._number]
        limit = self._recipe.max_document_bytes
        files = list(dict.fromkeys(str(piece.path) for piece in part.slices))
        check_unchanged(self._job.facts["inputs"], files)
        for item in read_part(part, max_document_bytes=limit, advance=lambda num_bytes: advance(0, num_bytes)):
            if self._table.num_documents % _RUN_DOCUMENTS == 0 and self._table.num_documents:
                self._write_keys()
            advance(1, 0)
            if isinstance(item, Fault):
                self._fault(item)
            elif (tokens := self._document(item)) is not None:
                self._num_rows += 1
                yield tokens
        check_unchanged(self._job.facts["inputs"], files)

    def _fault(self, fault: Fault) -> None:
        about = (fault.id, self._settings.language or "unknown", "")
        self._drop(Outcome("read", fault.reason), about, fault.excerpt, source_bytes=fault.num_bytes)

    def _document(self, document: Document) -> list[int] | None:
        recipe, tokenizer = self._recipe, self._tools.tokenizer
        text = normalise(document.text)
        license_name = document.license or self._settings.license or ""
        label = document.lang or self._settings.language or ""
        sizes: dict[str, Any] = {"source_bytes": len(document.text.encode()), "num_bytes": len(text.encode())}
        if not text:
            about = (document.id, label if label in ("en", "zh") else "unknown", license_name)
            self._drop(Outcome("normalise", "empty"), about, document.text, **sizes)
            return None
        about = (document.id, language_of(text, label), license_name)
        tokens = [*tokenizer.encode(text), tokenizer.special.eod]
        fields: dict[str, Any] = {**sizes, "num_tokens": len(tokens), "is_changed": text != document.text}
        language = about[1]
        if language not in ("en", "zh"):
            self._drop(Outcome("language", f"language: {language}"), about, text, **fields)
            return None
        cut = units(text)
        reason = judge(text, cut, language, recipe.filters)
        if reason is not None:
            self._drop(Outcome("quality", reason), about, text, **fields)
            return None
        self._keys.add(document_number(self._number, self._table.num_documents), self._tools.signer.keys(cut))
        left, is_contaminated = self._decontaminate(document.id, text, cut)
        if left != text:
            tokens = [*tokenizer.encode(left), tokenizer.special.eod]
        self._table.add(
            *about,
            None,
            **fields,
            kept_bytes=len(left.encode()),
            kept_tokens=len(tokens),
            row=self._num_rows,
            is_heldout=is_heldout(document.id, self._heldout),
            is_contaminated=is_contaminated,
        )
        return tokens

    def _drop(self, outcome: Outcome, about: tuple[str, str, str], text: str, **fields: Any) -> None:
        """Note a document of (id, language, licence) that goes no further."""
        document_id, language, _ = about
        self._table.add(*about, outcome, row=-1, **fields)
        self._samples.add(language, outcome, document_id, text)

    def _decontaminate(self, document_id: str, text: str, cut: Units) -> tuple[str, bool]:
        """The text that is left, and whether the document has to go; all hits are written down."""
        if self._tools.index is None:
            return text, False
        hits = self._tools.index.hits(text, cut)
        verdict = decide(text, hits, self._recipe.contamination)
        for hit, action in zip(hits, verdict.actions, strict=True):
            self._hits.write(self._hit_line(hit, document_id, text, action))
        return (text, True) if verdict.left is None else (verdict.left, False)

    def _hit_line(self, hit: Hit, document_id: str, text: str, action: str) -> str:
        record = {**hit.record(self._source, document_id), "action": action}
        line = {"index": self._table.num_documents, "passage": text[hit.start : hit.end][:300], "record": record}
        return json.dumps(line, ensure_ascii=False) + "\n"

    def _write_keys(self) -> None:
        self._keys.write(self._folder / f"keys-{self._num_runs:05d}.bin")
        self._keys, self._num_runs = KeyRun(), self._num_runs + 1
