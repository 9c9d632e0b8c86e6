"""What the first stage knows of each document, in a table that later stages read at any row."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from glm130b.errors import DataError
from glm130b.files import read_json, write_json

RECORD = np.dtype(
    [
        ("id_end", "<u8"),
        ("source_bytes", "<u8"),
        ("num_bytes", "<u4"),
        ("num_tokens", "<u4"),
        ("kept_bytes", "<u4"),
        ("kept_tokens", "<u4"),
        ("row", "<i4"),
        ("language", "<u4"),
        ("outcome", "<u4"),
        ("license", "<u4"),
        ("is_heldout", "?"),
        ("is_changed", "?"),
        ("is_contaminated", "?"),
    ]
)
"""One document, packed into 51 bytes.

``id_end`` is the end of its id in ``ids.bin``. Bytes are of the text as it was read, normalised, and after
passages were cut out; tokens include the ``eod``. ``row`` is its place in the part's token shard, -1 if it has
none. ``language``, ``outcome`` and ``license`` count in the lists of ``table.json``; outcome 0 is none yet.
"""

_BLOCK = 8192


@dataclass(frozen=True)
class Outcome:
    """Where and why a document was dropped."""

    stage: str
    reason: str


class TableWriter:
    """Appends documents to a table; holds some thousand of them at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._records, self._ids = (folder / "documents.bin").open("wb"), (folder / "ids.bin").open("wb")
        self._block = np.zeros(_BLOCK, dtype=RECORD)
        self._id_end = 0
        self._codes: dict[str, dict[Any, int]] = {"languages": {}, "outcomes": {None: 0}, "licenses": {}}
        self.num_documents = 0

    def add(self, document_id: str, language: str, license_name: str, outcome: Outcome | None, **fields: Any) -> None:
        """Append one document; ``fields`` are those of ``RECORD`` that are numbers."""
        name = document_id.encode("utf-8", "replace")
        self._ids.write(name)
        self._id_end += len(name)
        record = self._block[self.num_documents % _BLOCK]
        record["id_end"] = self._id_end
        record["language"] = self._code("languages", language)
        record["license"] = self._code("licenses", license_name)
        record["outcome"] = self._code("outcomes", outcome)
        for field, value in fields.items():
            record[field] = value
        self.num_documents += 1
        if self.num_documents % _BLOCK == 0:
            self._records.write(self._block.tobytes())
            self._block[:] = np.zeros((), dtype=RECORD)

    def _code(self, kind: str, value: Any) -> int:
        codes = self._codes[kind]
        return codes.setdefault(value, len(codes))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._records, self._ids:
            if kind is None:
                self._records.write(self._block[: self.num_documents % _BLOCK].tobytes())
                lists: dict[str, list[Any]] = {name: list(codes) for name, codes in self._codes.items()}
                lists["outcomes"] = [value and [value.stage, value.reason] for value in lists["outcomes"]]
                write_json(self._folder / "table.json", lists)


class DocumentTable:
    """Read-only view of what ``TableWriter`` wrote.

    Attributes:
        records: ``RECORD`` ``[n]``, memory-mapped.
        languages, outcomes, licenses: what the numbers in the records stand for; ``outcomes[0]`` is None.
    """

    def __init__(self, folder: Path) -> None:
        """Open a table.

        Raises:
            DataError: a file is missing or damaged.
        """
        self.records: NDArray[Any] = _mapped(folder / "documents.bin", RECORD)
        self._ids: NDArray[np.uint8] = _mapped(folder / "ids.bin", np.dtype(np.uint8))
        lists = read_json(folder / "table.json", DataError)
        self.languages: list[str] = lists["languages"]
        self.outcomes: list[Outcome | None] = [value and Outcome(*value) for value in lists["outcomes"]]
        self.licenses: list[str] = lists["licenses"]

    def __len__(self) -> int:
        return len(self.records)

    def document_id(self, index: int) -> str:
        """The id of a document."""
        start = int(self.records["id_end"][index - 1]) if index else 0
        return bytes(self._ids[start : int(self.records["id_end"][index])]).decode("utf-8")

    def document_ids(self) -> Iterable[str]:
        """All ids in order."""
        start = 0
        for end in self.records["id_end"].tolist():
            yield bytes(self._ids[start:end]).decode("utf-8")
            start = end


def _mapped(path: Path, kind: np.dtype[Any]) -> NDArray[Any]:
    try:
        size = path.stat().st_size
        return np.memmap(path, dtype=kind, mode="r") if size else np.zeros(0, dtype=kind)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}.", "Delete the folder it lies in and build again.") from None
