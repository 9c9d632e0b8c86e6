"""Writing checkpoints: every rank its own part, while the training goes on; whole or not there."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, wait
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError

from glm130b.config import RunConfig
from glm130b.files import disk_error, partial_path, publish, refuse_existing, write_json
from glm130b.model import INDEX, OPTIMIZER_INDEX, FolderInfo, write_info
from glm130b.parallel import Held, World
from glm130b.planning import parameter_shapes
from glm130b.samples import TrainingData
from glm130b.tokenization import Tokenizer
from glm130b.training.agreement import on_all
from glm130b.training.checkpoint_parts import Part, Staging, counters, moments, weights
from glm130b.training.checkpoint_shards import (
    Shards,
    check_whole,
    open_checkpoint,
    replica_digests,
    write_merged_index,
    write_shards,
)
from glm130b.training.guard import check_counters, check_replicas, drifted_replicas, optimizer_settings
from glm130b.training.progress import Progress
from glm130b.training.retention import retain

T = TypeVar("T")

AddFiles = Callable[[Path], None]
"""Writes into the folder it is given."""


@dataclass(frozen=True)
class _Snapshot:
    """What one rank has to put into a checkpoint, as of one step."""

    parameters: Sequence[Part]
    averages: Sequence[Part]
    counters: Sequence[tuple[str, float | None]]
    updates: int
    state: Mapping[str, Any]
    """``training_state.json``, but for what all ranks have to say."""
    add_files: AddFiles | None


@dataclass(frozen=True)
class _Contribution:
    """What one rank has written, and what it has seen."""

    parameters: Shards
    averages: Shards
    replicas: Mapping[str, str]
    """SHA-256 of what it holds and another rank has written."""
    counters: Sequence[tuple[str, float | None]]


class CheckpointWriter:
    """Writes the checkpoints of one run; every rank has one and calls its methods as all others do.

    A save copies what this rank holds to main memory and returns; a thread then writes it, in a conversation of
    its own with the other ranks' threads. Rank 0 gives the folder its name when all are done. What fails on one
    rank fails on all, and is raised by the next call of ``save``, ``check`` or ``wait``.

    Args:
        run: its folder, on a file system that all ranks see.
        world: all ranks; making a writer is collective.
    """

    def __init__(self, run: Path, config: RunConfig, tokenizer: Tokenizer, data: TrainingData, world: World) -> None:
        self._run, self._config, self._tokenizer, self._data = run, config, tokenizer, data
        self._world = world.separate() if world.size > 1 else world
        self._staging = Staging()
        self._pending: Future[Path] | None = None
        self._newest: Path | None = None

    def save(
        self,
        held: Sequence[Held],
        optimizer: torch.optim.Optimizer,
        progress: Progress,
        extra: Mapping[str, Any],
        *,
        add_files: AddFiles | None = None,
    ) -> Path:
        """Begin ``checkpoints/step-<n>``, once the save before it is done; then remove what need not be kept.

        Args:
            held: what this rank holds of every parameter.
            optimizer: AdamW over ``held``.
            extra: plain values that ``load_checkpoint`` gives back; rank 0's are kept.
            add_files: writes more files into the folder it is given; called on rank 0, by the thread.

        Returns:
            Where the checkpoint will be.

        Raises:
            DataError: there is one of this step.
            ResourceError: a disk is full or not writable.
            ModelError: replicas have drifted apart or the optimizer has lost count; the checkpoint is there, no
                run goes on from it, and older ones are kept.
        """
        self.wait()
        path = self._run / "checkpoints" / f"step-{progress.step:08d}"
        snapshot = _Snapshot(
            weights(held),
            moments(held, optimizer) if progress.updates else [],
            counters(held, optimizer),
            progress.updates,
            {
                **asdict(progress),
                "data_fingerprints": self._data.fingerprints,
                "seen_in_mip": self._data.seen_in_mip,
                "optimizer": optimizer_settings(optimizer),
                "extra": json.loads(json.dumps(dict(extra))),
                "config": self._config.model_dump(mode="json"),
            },
            add_files,
        )
        if not self._config.checkpoint.asynchronous:
            self._newest = self._write(path, snapshot)
            return path
        snapshot = replace(
            snapshot,
            parameters=self._staging.copy(snapshot.parameters),
            averages=self._staging.copy(snapshot.averages),
        )
        self._pending = Future()
        write = partial(self._write, path, snapshot)
        Thread(target=_fulfil, args=(self._pending, write), name="checkpoint", daemon=True).start()
        return path

    @property
    def failed(self) -> bool:
        """Whether a save has failed, as far as this rank knows; others may know it some steps later."""
        return self._pending is not None and self._pending.done() and self._pending.exception() is not None

    def check(self) -> Path | None:
        """Like ``wait``, but without waiting.

        A failure is raised here only where this rank is alone. Among several it is left to ``save`` and ``wait``,
        where all of them are at the same step; ``failed`` is for those that agree to get there earlier.
        """
        done = self._pending is not None and self._pending.done()
        return self.wait() if done and (self._world.size == 1 or not self.failed) else self._newest

    def wait(self) -> Path | None:
        """Wait for the save under way; the newest checkpoint that this writer has finished.

        Raises:
            GLMError: as ``save``; once for each failure.
        """
        if self._pending is not None:
            pending, self._pending = self._pending, None
            self._newest = pending.result()
        return self._newest

    def close(self) -> None:
        """Let a save under way come to its end, whatever that is; ``wait`` would tell."""
        if self._pending is not None:
            wait([self._pending])

    def _write(self, path: Path, snapshot: _Snapshot) -> Path:
        world, unfinished = self._world, partial_path(path)

        def on_disk(action: Callable[..., T], *arguments: Any) -> list[T]:
            return on_all(world, partial(_on_disk, path, action, *arguments))

        try:
            on_disk(self._begin, path, unfinished)
            ranks = on_disk(self._contribute, unfinished, snapshot)
            on_disk(self._finish, path, unfinished, snapshot, ranks)
        finally:
            if world.first:
                shutil.rmtree(unfinished, ignore_errors=True)
        return path

    def _begin(self, path: Path, unfinished: Path) -> None:
        if self._world.first:
            refuse_existing(path)
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir(parents=True)

    def _contribute(self, unfinished: Path, snapshot: _Snapshot) -> _Contribution:
        self._staging.ready()
        return _Contribution(
            write_shards(unfinished, INDEX, snapshot.parameters, self._world),
            write_shards(unfinished, OPTIMIZER_INDEX, snapshot.averages, self._world),
            replica_digests([*snapshot.parameters, *snapshot.averages]),
            snapshot.counters,
        )

    def _finish(self, path: Path, unfinished: Path, snapshot: _Snapshot, ranks: Sequence[_Contribution]) -> None:
        """Write what is written once, give the folder its name, and see to the older ones."""
        if not self._world.first:
            return
        model = self._config.model
        shards = [rank.parameters for rank in ranks], [rank.averages for rank in ranks]
        digests = {key: digest for group in shards for one in group for key, digest in one.digests.items()}
        drifted = drifted_replicas(digests, [rank.replicas for rank in ranks])
        steps = _merged(counter for rank in ranks for counter in rank.counters)
        optimizer = {**snapshot.state["optimizer"], "steps": steps}
        self._tokenizer.save(unfinished)
        write_info(unfinished, FolderInfo(model, None, self._tokenizer.model_fingerprint))
        write_json(
            unfinished / "training_state.json",
            {**snapshot.state, "optimizer": optimizer, "drifted_replicas": drifted},
        )
        for index, group in zip((INDEX, OPTIMIZER_INDEX), shards, strict=True):
            write_merged_index(unfinished, index, group)
        if snapshot.add_files is not None:
            snapshot.add_files(unfinished)
        check_whole(path, *open_checkpoint(unfinished), model, snapshot.updates)
        publish(unfinished, path)
        check_replicas(path, drifted)
        check_counters(path, steps, parameter_shapes(model), snapshot.updates)
        retain(self._run, self._config.checkpoint)


def _merged(counters: Iterable[tuple[str, float | None]]) -> dict[str, list[float | None]]:
    """All that is said of each parameter."""
    found: dict[str, list[float | None]] = {}
    for name, step in counters:
        if step not in found.setdefault(name, []):
            found[name].append(step)
    return found


def _on_disk(path: Path, action: Callable[..., T], *arguments: Any) -> T:
    try:
        return action(*arguments)
    except (OSError, SafetensorError) as error:
        raise disk_error(path, error) from error


def _fulfil(future: Future[Path], write: Callable[[], Path]) -> None:
    try:
        future.set_result(write())
    except BaseException as error:
        future.set_exception(error)
