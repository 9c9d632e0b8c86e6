"""GEM: triples and tables to text (WebNLG 2020, E2E), articles to summaries (WikiLingua)."""

from __future__ import annotations

import csv
import random
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from xml.etree import ElementTree

from glm130b.errors import DataError
from glm130b.evaluation.items import Item
from glm130b.evaluation.readers.reader import malformed, reader
from glm130b.lines import read_lines

_WEBNLG = "WebNLG's XML: entries with a modifiedtripleset of mtriple (subject | property | object) and lex"
_E2E = "a CSV file with a header, a column mr and a column ref"
_WIKILINGUA = "two files with one article, or summary, a line: test.src and test.tgt, test.src.en and test.tgt.en"


@reader("webnlg")
def read_webnlg(files: Sequence[Path]) -> Iterator[Item]:
    """``triples`` as texts, of the modified sets, and one to five references; a group is a category."""
    for file in files:
        try:
            entries = ElementTree.parse(file).getroot().iter("entry")
        except (OSError, ElementTree.ParseError, ValueError) as error:
            raise DataError(f"{file} is not readable XML: {error}.", f"Expected is {_WEBNLG}.") from None
        for n, entry in enumerate(entries, start=1):
            triples = [(one.text or "").strip() for one in entry.findall("modifiedtripleset/mtriple")]
            texts = tuple(text for one in entry.findall("lex") if (text := " ".join((one.text or "").split())))
            if not triples or not texts or any(triple.count(" | ") != 2 for triple in triples):
                reason = f"{len(triples)} triples and {len(texts)} texts, or a triple is not in three parts"
                raise malformed(file, f"entry {n}", reason, _WEBNLG)
            yield Item(
                f"{file.parent.name}/{file.name}#{n}",
                {"triples": [triple.replace("_", " ") for triple in triples], "text": texts[0]},
                references=texts,
                group=entry.get("category") or "",
            )


@reader("e2e")
def read_e2e(files: Sequence[Path]) -> Iterator[Item]:
    """A meaning representation ``mr`` and all its references; the file has a row a reference."""
    for file in files:
        references: dict[str, list[str]] = {}
        rows = csv.reader((line + "\n" for _, line in read_lines(file)), strict=True)
        try:
            header = next(rows, [])
            if not {"mr", "ref"} <= set(header):
                raise malformed(file, 1, f"the header is {','.join(header)[:60]!r}", _E2E)
            for row in rows:
                if len(row) != len(header):
                    raise malformed(file, rows.line_num, f"{len(row)} columns of {len(header)}", _E2E)
                record = dict(zip(header, row, strict=True))
                references.setdefault(record["mr"].strip(), []).append(" ".join(record["ref"].split()))
        except csv.Error as error:
            raise malformed(file, rows.line_num, str(error), _E2E) from None
        for n, (mr, texts) in enumerate(references.items(), start=1):
            yield Item(f"{file.name}#{n}", {"mr": mr, "text": texts[0]}, references=tuple(texts))


@reader("wikilingua")
def read_wikilingua(files: Sequence[Path], sample: int | None = None, seed: int = 0) -> Iterator[Item]:
    """An ``article`` and its summary; a group is a folder, ``es_en`` say.

    Args:
        files: sources, each with its targets beside it; targets that are named too are passed over.
        sample: draw so many of all, evenly by ``seed``, in the order of the files.
    """
    items = [item for file in files if ".src" in file.name for item in _pairs(file)]
    if not items:
        raise DataError(f"No file of {len(files)} is named .src.", f"Expected is {_WIKILINGUA}.")
    if sample is not None and sample < len(items):
        items = [items[n] for n in sorted(random.Random(seed).sample(range(len(items)), sample))]
    return iter(items)


def _pairs(source: Path) -> Iterator[Item]:
    target = source.with_name(source.name.replace(".src", ".tgt"))
    ended = (0, None)
    for (number, article), (_, summary) in zip_longest(read_lines(source), read_lines(target), fillvalue=ended):
        if article is None or summary is None:
            shorter = source if article is None else target
            raise DataError(f"{shorter} has fewer lines than its counterpart.", f"Expected is {_WIKILINGUA}.")
        if not article.strip() or not summary.strip():
            raise malformed(source, number, "article or summary is empty", _WIKILINGUA)
        name = f"{source.parent.name}/{source.name}#{number}"
        fields = {"article": " ".join(article.split()), "text": " ".join(summary.split())}
        yield Item(name, fields, references=(fields["text"],), group=source.parent.name)
