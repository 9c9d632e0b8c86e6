"""``metrics.jsonl``: one object a step, floats at full precision."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from glm130b.errors import ConfigError
from glm130b.files import disk_error, whole_file

Record = dict[str, Any]


def read_metrics(path: Path) -> list[Record]:
    """All whole records; a line that a kill cut short, or that is none, is left out."""
    records = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict) and isinstance(record.get("step"), int):
            records.append(record)
    return records


class MetricsLog:
    """Appends records to ``<run>/metrics.jsonl`` and, if asked, to TensorBoard event files.

    Opening drops what lies after ``resumed_step``, so that the file tells one story however often the run
    was killed.
    """

    def __init__(self, run: Path, resumed_step: int, *, tensorboard: bool = False) -> None:
        """Open the log.

        Raises:
            ConfigError: TensorBoard is asked for and not installed.
        """
        self._path = path = run / "metrics.jsonl"
        kept = [record for record in read_metrics(path) if record["step"] <= resumed_step]
        with whole_file(path) as partial:
            partial.write_text("".join(json.dumps(record) + "\n" for record in kept), encoding="utf-8")
        self._board = _open_tensorboard(run, resumed_step) if tensorboard else None
        self._file = path.open("a", encoding="utf-8")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):  # what could not be written has been reported by `write`
            self._file.close()
        if self._board is not None:
            self._board.close()

    def write(self, record: Record) -> None:
        """Append one step."""
        with self._disk():
            self._file.write(json.dumps(record) + "\n")
            self._file.flush()
            if self._board is not None:
                for name, value in _scalars(record):
                    self._board.add_scalar(name, value, record["step"])

    def sync(self) -> None:
        """Make everything written so far survive a power cut."""
        with self._disk():
            os.fsync(self._file.fileno())

    @contextmanager
    def _disk(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise disk_error(self._path, error) from error


def _scalars(record: Record) -> Iterator[tuple[str, float]]:
    for name, value in record.items():
        if isinstance(value, dict):
            yield from ((f"{name}/{part}", part_value) for part, part_value in value.items())
        elif isinstance(value, (int, float)) and name != "step":
            yield name, value


def _open_tensorboard(run: Path, resumed_step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise ConfigError(
            "tensorboard is set, but TensorBoard is not installed.",
            "pip install 'glm130b[tensorboard]', or unset it.",
        ) from None
    return SummaryWriter(str(run / "tensorboard"), purge_step=resumed_step + 1)
