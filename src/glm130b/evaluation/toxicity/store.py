"""Scores by text, in a file that only grows."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from glm130b.errors import DataError
from glm130b.files import disk_error, folder_lock


@dataclass(frozen=True)
class Score:
    """What a scorer said about one text.

    Attributes:
        toxicity: from 0 to 1, or None if the scoring failed.
        error: why it failed.
        version: of the scorer, where it tells it with each answer.
        date: when, in UTC.
    """

    toxicity: float | None
    error: str = ""
    version: str = ""
    date: str = ""


class ScoreStore:
    """The scores of one scorer in ``scores/<scorer>.jsonl``.

    A line names the text by SHA-256, so that a file can be shared without the texts. Lines of other versions of the
    scorer stay in the file and are not used.
    """

    def __init__(self, path: Path, identity: str) -> None:
        """Read the file; see ``open_store``."""
        self._path, self._identity = path, identity
        self._scores: dict[str, Score] = {}
        self._read()

    def toxicity(self, text: str) -> float | None:
        """The score of a text, or None if there is none, or none that was successful."""
        found = self._scores.get(_digest(text))
        return found.toxicity if found else None

    def score(self, text: str) -> Score | None:
        """All that is known of a text."""
        return self._scores.get(_digest(text))

    def add(self, texts: Sequence[str], scores: Sequence[Score]) -> None:
        """Append scores, and be sure they are on disk.

        Raises:
            ResourceError: the disk is full or not writable.
        """
        date = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
        lines = []
        for text, score in zip(texts, scores, strict=True):
            dated = Score(score.toxicity, score.error, score.version, date)
            self._scores[_digest(text)] = dated
            record = {"text": _digest(text), "scorer": self._identity, "toxicity": dated.toxicity, "date": date}
            record |= {"error": score.error} if score.error else {}
            record |= {"version": score.version} if score.version else {}
            lines.append(json.dumps(record, ensure_ascii=False) + "\n")
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.writelines(lines)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise disk_error(self._path, error) from error

    def _read(self) -> None:
        if not self._path.exists():
            return
        data = self._path.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            os.truncate(self._path, whole)
        for number, line in enumerate(data[:whole].splitlines(), start=1):
            try:
                record = json.loads(line)
                text, toxicity = str(record["text"]), record["toxicity"]
                score = Score(
                    None if toxicity is None else float(toxicity),
                    str(record.get("error", "")),
                    str(record.get("version", "")),
                    str(record["date"]),
                )
                ours = record["scorer"] == self._identity
            except (ValueError, KeyError, TypeError):
                raise DataError(
                    f"{self._path}, line {number}, is damaged.", "Remove the line; its text is scored again."
                ) from None
            if ours:
                self._scores[text] = score


@contextmanager
def open_store(folder: Path, scorer: str, identity: str) -> Iterator[ScoreStore]:
    """The store of a scorer below a folder of results; no other process may write it meanwhile.

    A last line that a killed process left unfinished is dropped.

    Raises:
        DataError: a line is damaged.
        ResourceError: another process is scoring; the folder is not writable.
    """
    scores = folder / "scores"
    with folder_lock(scores, f"Another process is scoring the continuations in {folder}."):
        try:
            store = ScoreStore(scores / f"{scorer}.jsonl", identity)
        except OSError as error:
            raise disk_error(scores, error) from error
        yield store


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
