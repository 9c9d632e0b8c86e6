"""Documents searched for passages of evaluation sets, without building a corpus."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TextIO

from glm130b.config import ContaminationConfig
from glm130b.corpus.contamination import EvaluationIndex
from glm130b.corpus.documents import Document, Fault, read_file, source_files
from glm130b.corpus.normalise import normalise
from glm130b.corpus.verdict import decide
from glm130b.files import refuse_existing, whole_file


def decontaminate(
    sources: Mapping[str, Sequence[Path]],
    settings: ContaminationConfig,
    hits_path: Path,
    *,
    clean_path: Path | None = None,
    max_document_bytes: int = 1 << 26,
    advance: Callable[[int, int], None] = lambda documents, num_bytes: None,
) -> dict[str, Any]:
    """Stream documents once; write a line for each hit and, if asked, what is left of the documents.

    Spans and passages are those of the normalised text.

    Args:
        sources: files and folders by the name of the source.
        settings: the test sets, and what to do about a hit.
        hits_path: a ``.jsonl`` to write.
        clean_path: a ``.jsonl`` or ``.jsonl.gz`` to write what is left to: ``id``, ``text``, ``lang``, ``source`` and
            ``license`` of each document, its text as it was unless something was cut out of it.
        max_document_bytes: length of a line beyond which it is passed over, and counted.
        advance: told documents and bytes dealt with.

    Returns:
        ``documents``, ``dropped``, ``cut``, ``hits``, ``unread`` by reason, ``tasks`` with the documents each
        was found in, and the facts of the ``index``.

    Raises:
        DataError: a file is missing or damaged, or there is something at a path to write.
        ResourceError: the disk is full.
    """
    refuse_existing(hits_path)
    counts, unread, tasks = Counter[str](), Counter[str](), Counter[str]()
    with TemporaryDirectory() as folder, whole_file(hits_path) as hits_file, _writer(clean_path) as clean:
        index = EvaluationIndex.build(settings.against, Path(folder) / "index", exclude=settings.exclude, n=settings.n)
        with hits_file.open("w", encoding="utf-8") as lines:
            for source, document in _documents(sources, max_document_bytes, advance):
                counts["documents"] += 1
                if isinstance(document, Fault):
                    unread[document.reason] += 1
                    continue
                text = normalise(document.text)
                hits = index.hits(text)
                verdict = decide(text, hits, settings)
                for hit, action in zip(hits, verdict.actions, strict=True):
                    passage = text[hit.start : hit.end]
                    record = {**hit.record(source, document.id), "action": action, "passage": passage}
                    lines.write(json.dumps(record, ensure_ascii=False) + "\n")
                counts["hits"] += len(hits)
                tasks.update({hit.task for hit in hits})
                counts["dropped"] += verdict.left is None
                counts["cut"] += verdict.left not in (None, text)
                if clean is not None and verdict.left is not None:
                    left = document.text if verdict.left == text else verdict.left
                    fields = {**asdict(document), "source": document.source or source, "text": left}
                    clean.write(json.dumps({key: value for key, value in fields.items() if value}, ensure_ascii=False))
                    clean.write("\n")
        totals = {name: counts[name] for name in ("documents", "dropped", "cut", "hits")}
        return {**totals, "unread": dict(unread), "tasks": dict(tasks.most_common()), "index": index.facts}


def _documents(
    sources: Mapping[str, Sequence[Path]], limit: int, advance: Callable[[int, int], None]
) -> Iterator[tuple[str, Document | Fault]]:
    for source, paths in sources.items():
        for file in (file for path in paths for file in source_files(path)):
            for item in read_file(file, max_document_bytes=limit, advance=lambda num_bytes: advance(0, num_bytes)):
                advance(1, 0)
                yield source, item


@contextmanager
def _writer(path: Path | None) -> Iterator[TextIO | None]:
    if path is None:
        yield None
        return
    refuse_existing(path)
    opener: Any = gzip.open if path.suffix == ".gz" else open
    with whole_file(path) as partial, opener(partial, "wt", encoding="utf-8") as file:
        yield file
