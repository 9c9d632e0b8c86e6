"""``ledger.jsonl``: what happened in a run, step by step, in lines that are only ever added."""

from __future__ import annotations

import json
import math
import os
import platform
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch

import glm130b
from glm130b.code_hash import code_hash, git_commit
from glm130b.config import RunConfig
from glm130b.errors import GLMError, ResourceError
from glm130b.files import disk_error
from glm130b.training.ledger_lines import LEDGER, Head, Line, differences, numbers_drawn, read_ledger, restore_ledger
from glm130b.training.metrics import Record
from glm130b.training.progress import Progress

_FROM_RECORD = ("learning_rate", "alpha", "loss_scale", "loss", "grad_norm")


class Ledger:
    """The ledger of a run that goes on. One process of the run has it; its threads may share it.

    As a context manager it notes the error that a session ends with.
    """

    def __init__(self, run: Path, resumed: Path | None = None) -> None:
        """Open or begin ``<run>/ledger.jsonl`` and check all of it; a line that a kill cut short is cut off.

        Args:
            resumed: the checkpoint that the run goes on from. If the run's ledger is missing, or lost its end in a
                power cut, the lines are taken from the checkpoint's copy.

        Raises:
            ModelError: the ledger was changed, or does not begin as the checkpoint's copy says.
            ResourceError: it cannot be written.
        """
        self._run, self._path = run, run / LEDGER
        self._lock = threading.Lock()
        self._head, self._session, self._step = Head(), 0, 0
        self._config: dict[str, Any] = {}
        self._skip: Sequence[tuple[int, int]] = ()
        self._ended = False
        try:
            run.mkdir(parents=True, exist_ok=True)
            self._resumed = None if resumed is None else self._take_up(resumed)
            for line, head in read_ledger(self._path) if self._path.exists() else ():
                self._head, self._session, self._step = head, line["session"], line["step"]
                self._config = line.get("config", self._config)
            self._file = self._path.open("ab")
            self._file.truncate(self._head.num_bytes)
        except OSError as error:
            raise disk_error(self._path, error) from error

    def _take_up(self, checkpoint: Path) -> Line:
        """What a session says of the checkpoint it goes on from; one of an earlier version has no ledger."""
        origin: Line = {"checkpoint": self._relative(checkpoint), "session": None, "lines": None, "sha256": None}
        if (checkpoint / LEDGER).exists():
            last, head = restore_ledger(self._path, checkpoint / LEDGER)
            origin |= {"session": last.get("session"), "lines": head.lines, "sha256": head.sha256}
        return origin

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(GLMError, OSError):  # a full disk must not hide what ended the session
            if error is not None and not self._ended:
                self.end(error.problem if isinstance(error, GLMError) else f"{type(error).__name__}: {error}".strip())
        with suppress(OSError):
            self._file.close()

    @property
    def head(self) -> Head:
        """Number of lines and hash of the last, as of now."""
        return self._head

    def session(self, config: RunConfig, progress: Progress, hosts: Sequence[str]) -> int:
        """Begin a session: the run starts, or goes on from the checkpoint given at opening. Returns its number.

        Args:
            config: in force from here on, with the layout there really is.
            progress: where the run stands.
            hosts: the host of each rank.
        """
        tree, mesh = config.model_dump(mode="json"), config.parallel
        ranks: dict[str, list[int]] = {}
        for rank, host in enumerate(hosts):
            ranks.setdefault(host, []).append(rank)
        fields = {
            "samples": progress.samples,
            "trained": progress.trained,
            "resumed": self._resumed,
            "version": glm130b.__version__,
            "code": code_hash(),
            "commit": git_commit(),
            "python": platform.python_version(),
            "torch": str(torch.__version__),
            "hosts": ranks,
            "layout": {"pp": mesh.pipeline, "dp": mesh.data, "tp": mesh.tensor, "world": len(hosts)},
            "changes": differences(self._config, tree) if self._config else {},
        }
        if tree != self._config:
            fields["config"] = tree
        self._session, self._config, self._skip, self._ended = self._session + 1, tree, config.data.skip, False
        self._append("session", progress.step, fields)
        return self._session

    def step(self, before: Progress, after: Progress, record: Record) -> None:
        """Note a step, applied or not.

        Args:
            before, after: where the run stood.
            record: the step's, as in ``metrics.jsonl``; some of it is taken over.
        """
        size = after.samples - before.samples
        fields = {
            "sequences": numbers_drawn(before.samples, size, self._skip),
            "samples": after.samples,
            "trained": after.trained,
            "applied": after.skipped_steps == before.skipped_steps,
            "batch_size": size,
            **{name: _finite(record[name]) for name in _FROM_RECORD},
        }
        self._append("step", after.step, fields)

    def checkpoint(self, path: Path, step: int) -> None:
        """Note that the checkpoint of a step is whole, perhaps some steps later."""
        self._append("checkpoint", step, {"path": self._relative(path)}, moves=False)

    def event(self, text: str, **fields: Any) -> None:
        """Note anything else, in a sentence, with JSON values beside it."""
        self._append("event", self._step, {"text": text, "fields": {name: _finite(v) for name, v in fields.items()}})

    def end(self, why: str) -> None:
        """Note why a session ends: it is done, a signal, an error. The next session may begin without it."""
        self._append("event", self._step, {"text": why, "ends": True})
        self._ended = True

    def sync(self) -> None:
        """Make everything noted so far survive a power cut."""
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise disk_error(self._path, error) from error

    def copy_to(self, folder: Path, head: Head | None = None) -> None:
        """Store the ledger, as it was at ``head`` (default now), in a checkpoint that is being written."""
        with self._path.open("rb") as file:
            (folder / LEDGER).write_bytes(file.read((head or self._head).num_bytes))

    def _relative(self, path: Path) -> str:
        path, run = path.resolve(), self._run.resolve()
        return path.relative_to(run).as_posix() if path.is_relative_to(run) else str(path)

    def _append(self, kind: str, step: int, fields: Mapping[str, Any], *, moves: bool = True) -> None:
        time = datetime.now(UTC).isoformat(timespec="seconds")
        with self._lock:
            line = {"kind": kind, "session": self._session, "step": step, "time": time, **fields}
            raw = json.dumps({**line, "previous": self._head.sha256}, default=str).encode() + b"\n"
            try:
                if os.fstat(self._file.fileno()).st_size != self._head.num_bytes:
                    raise ResourceError(
                        f"Something else has written to {self._path}.", "Let one process at a time train the run."
                    )
                self._file.write(raw)
                self._file.flush()
            except OSError as error:
                raise disk_error(self._path, error) from error
            self._head = self._head.after(raw)
            self._step = step if moves else self._step


def _finite(value: Any) -> Any:
    """A value JSON can hold: ``inf`` and ``nan`` as words."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
