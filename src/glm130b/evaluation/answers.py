"""Answers on disk: asked once, kept for good."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from glm130b.errors import DataError, ResourceError
from glm130b.evaluation.engine import Engine
from glm130b.evaluation.identity import Identity
from glm130b.evaluation.items import Answer, Request
from glm130b.evaluation.progress import Meter, Progress
from glm130b.evaluation.requests import content_of
from glm130b.files import disk_error

_FORMAT = 1
_HEAD = b'{"format": '
_NEXT = "Move the file away; what it holds will be asked again."


class AnswerStore:
    """A file of JSON lines that only grows: answers, by the SHA-256 of request and model.

    A batch is appended at once and synced. Each line says how many of its batch follow, so that a batch that a kill
    or a crash has torn is dropped whole when the file is opened again. Before the first answers of a process comes a
    line on the model. One process at a time holds a file.
    """

    def __init__(self, path: Path, identity: Identity) -> None:
        """Open a file, made if need be, for the answers of one model; it may hold others' as well.

        Raises:
            ResourceError: another process holds it, or the disk is full or not writable.
            DataError: a line is damaged, by number; or this is no file of answers.
        """
        self._path, self._identity = path, identity
        self._digest = identity.digest
        self._answers: dict[str, Answer] = {}
        self._introduced = False
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            is_new = not path.exists()
            self._file = path.open("a+b", buffering=0)
        except OSError as error:
            raise disk_error(path, error) from error
        try:
            self._lock()
            self._open(is_new)
        except OSError as error:
            self._file.close()
            raise disk_error(path, error) from error
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let other processes have the file."""
        self._file.close()

    def __len__(self) -> int:
        return len(self._answers)

    def key(self, request: Request) -> str:
        """What a request's answer by this model is stored under."""
        content = json.dumps([self._digest, content_of(request)], ensure_ascii=False)
        return hashlib.sha256(content.encode()).hexdigest()

    def __contains__(self, key: str) -> bool:
        return key in self._answers

    def __getitem__(self, key: str) -> Answer:
        return self._answers[key]

    def add(self, batch: Sequence[tuple[str, Answer]]) -> None:
        """Keep a batch; when this returns, it is on the disk.

        Raises:
            ResourceError: the disk is full or not writable. The file ends where it did.
        """
        lines: list[dict[str, Any]] = [{"key": key, **_to_json(answer)} for key, answer in batch]
        if not self._introduced:
            lines.insert(0, {"format": _FORMAT, "model": asdict(self._identity)})
        for left, line in enumerate(reversed(lines)):
            line["left"] = left
        content = memoryview("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode())
        end = self._file.seek(0, os.SEEK_END)
        try:
            while content:
                content = content[self._file.write(content) :]
            os.fsync(self._file.fileno())
        except OSError as error:
            with suppress(OSError):  # what is torn is dropped when the file is opened again
                self._file.truncate(end)
            raise disk_error(self._path, error) from error
        self._introduced = True
        self._answers.update(batch)

    def _lock(self) -> None:
        import fcntl

        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ResourceError(
                f"Another process is writing {self._path}.", "Wait for it, or choose another folder for the results."
            ) from None

    def _open(self, is_new: bool) -> None:
        self._file.seek(0)
        whole = self._file.read()
        if whole[: len(_HEAD)] != _HEAD[: len(whole)]:
            raise DataError(f"{self._path} is not a file of answers.", "Choose another name.")
        *lines, _ = whole.split(b"\n")
        place = end = left = 0
        batch: list[tuple[str, Answer]] = []
        for number, line in enumerate(lines, start=1):
            left = self._read(line, number, left, batch)
            place += len(line) + 1
            if left == 0:
                self._answers.update(batch)
                batch, end = [], place
        if end < len(whole):
            self._file.truncate(end)
            os.fsync(self._file.fileno())
        if is_new:
            folder = os.open(self._path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def _read(self, line: bytes, number: int, left: int, batch: list[tuple[str, Answer]]) -> int:
        """Add the answer of a line to its batch, of which ``left`` lines were to follow; how many do after this one."""
        try:
            record = json.loads(line)
            if "model" in record:
                if record["format"] != _FORMAT:
                    raise DataError(
                        f"{self._path}, line {number}: answers in format {record['format']}; this version reads "
                        f"format {_FORMAT}.",
                        _NEXT,
                    )
            else:
                batch.append((record["key"], _from_json(record)))
            following = int(record["left"])
            if following < 0 or (left and following != left - 1):
                raise ValueError("a line is missing")
        except (ValueError, KeyError, TypeError, AttributeError):
            raise DataError(f"{self._path}, line {number}, is damaged.", _NEXT) from None
        return following


def answer_all(
    engine: Engine,
    store: AnswerStore,
    requests: Sequence[Request],
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> list[Answer]:
    """The answer to each request: from the store, or else from the model and from then on in the store.

    Requests that are the same are asked once.

    Raises:
        DataError, ModelError, ResourceError: as ``Engine.answer`` and ``AnswerStore.add``; what was answered is kept.
    """
    keys = [store.key(request) for request in requests]
    different = dict(zip(keys, requests, strict=True))
    waiting = {key: request for key, request in different.items() if key not in store}
    names, asked = list(waiting), list(waiting.values())
    meter = Meter(asked, reused=len(different) - len(asked))
    on_progress(meter.progress())
    for batch in engine.answer(asked):
        store.add([(names[n], answer) for n, answer in batch])
        meter.answered([asked[n] for n, _ in batch])
        on_progress(meter.progress())
    return [store[key] for key in keys]


def _to_json(answer: Answer) -> dict[str, Any]:
    return {"log_probs": answer.log_probs} if answer.log_probs else {"text": answer.text, "ended": answer.ended}


def _from_json(record: dict[str, Any]) -> Answer:
    """The inverse; raises KeyError, TypeError or ValueError."""
    if "log_probs" in record:
        if not isinstance(record["log_probs"], list):
            raise TypeError("log_probs is no list")
        return Answer(log_probs=tuple(map(float, record["log_probs"])))
    if not isinstance(record["text"], str):
        raise TypeError("text is no text")
    return Answer(text=record["text"], ended=bool(record["ended"]))
