"""``glm data build``: raw documents to a folder of token shards and a ledger."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from glm130b.config import BuildConfig
from glm130b.corpus.assemble import assemble
from glm130b.corpus.cluster import run_on_cluster
from glm130b.corpus.contamination import EvaluationIndex
from glm130b.corpus.documents import LEDGER, folder_files
from glm130b.corpus.duplicates import plan_ranges
from glm130b.corpus.engine import Reporter, Silent, run_stage
from glm130b.corpus.facts import check_unchanged
from glm130b.corpus.job import STAGES, Job, Stage, discard, has_results, is_published, start_job
from glm130b.corpus.parts import plan_parts
from glm130b.corpus.verify import read_ledger
from glm130b.errors import ConfigError, DataError, GLMError
from glm130b.files import (
    check_free_space,
    disk_error,
    folder_lock,
    partial_path,
    publish,
    refuse_existing,
    size_text,
    write_whole,
)
from glm130b.tokenization import Tokenizer

Engine = Literal["local", "datatrove", "slurm", "ray"]

_UNPACKED = 4
"""Bytes of text for a byte of a compressed file, roughly."""

_PACKED = (".gz", ".zst", ".parquet")


def build(
    recipe: BuildConfig,
    out: Path,
    *,
    left_out: Sequence[Path] = (),
    workers: int | None = None,
    engine: Engine = "local",
    engine_options: Mapping[str, Any] | None = None,
    reporter: Reporter | None = None,
) -> dict[str, Any]:
    """Build a corpus; interrupted or killed, the next call with the same arguments goes on.

    What is unfinished lies in ``.partial-NAME`` beside ``out``. The result does not depend on ``workers``,
    on ``engine`` or on interruptions.

    Args:
        left_out: what of the inputs was not named as a source, for the ledger; what lies in folders that are
            named is found here.
        workers: processes, or tasks at a time on a cluster; default the CPUs there are, on a cluster no limit.
        engine: ``local`` for processes of this machine, else datatrove's local, Slurm or Ray executor.
        engine_options: arguments of datatrove's executor.

    Returns:
        The ledger, see docs/data.md.

    Raises:
        DataError: ``out`` exists; an input is missing, damaged or changes meanwhile; what was begun is not the
            same build.
        ConfigError: see ``run_on_cluster``; or options for engine ``local``.
        ResourceError: disk or memory do not suffice, or another process is building ``out``.
    """
    if engine_options and engine == "local":
        raise ConfigError("Engine options have no effect on engine local.", "Leave them out, or name another engine.")
    folder, busy = partial_path(out), f"Another process is building {out}."
    if folder.exists() and (out / LEDGER).exists():
        with folder_lock(folder, busy):
            if (found := _published(recipe, out)) is not None:
                return found
    refuse_existing(out)
    tokenizer = Tokenizer.load(recipe.tokenizer)
    parts = plan_parts(recipe)
    others = [*left_out, *_left_out(recipe)]
    try:
        with folder_lock(folder, busy):
            try:
                job = start_job(out, recipe, parts, tokenizer, others)
                num_workers = workers or (_num_cpus() if engine in ("local", "datatrove") else -1)
                ledger = _build(job, out, tokenizer, engine, num_workers, engine_options, reporter or Silent())
            except GLMError as error:
                if has_results(folder):
                    kept = f"{error.next_step} What was finished is kept in {folder}."
                    raise type(error)(error.problem, kept) from None
                discard(folder)
                raise
    except OSError as error:
        raise disk_error(out, error) from error
    return ledger


def _published(recipe: BuildConfig, out: Path) -> dict[str, Any] | None:
    """The ledger of a corpus whose process was killed before it had put its work away, which is done now."""
    ledger, tokenizer, parts = read_ledger(out), Tokenizer.load(recipe.tokenizer), plan_parts(recipe)
    is_same = ledger["recipe"] == recipe.model_dump(mode="json") and is_published(out, recipe, parts, tokenizer)
    if is_same:
        discard(partial_path(out))
    return ledger if is_same else None


def _left_out(recipe: BuildConfig) -> list[Path]:
    folders = {Path(path) for source in recipe.active_sources.values() for path in source.path}
    return [path for folder in sorted(folders) if folder.is_dir() for path in folder_files(folder)[1]]


def _build(
    job: Job,
    out: Path,
    tokenizer: Tokenizer,
    engine: Engine,
    workers: int,
    options: Mapping[str, Any] | None,
    reporter: Reporter,
) -> dict[str, Any]:
    _check_disk(job, out, tokenizer)
    settings = job.recipe.contamination
    if settings.against and not job.evaluation.exists():
        reporter.note("Indexing test sets")
        _index(job)
    for stage in STAGES:
        _run(job, stage, engine, workers, options or {}, reporter)
    reporter.note("Writing the ledger")
    ledger = assemble(job, out, tokenizer)
    publish(job.output, out)
    discard(job.folder)
    return ledger


def _index(job: Job) -> None:
    """Index the test sets, if they stay as they are meanwhile."""
    settings, known = job.recipe.contamination, job.facts["evaluation"]
    check_unchanged(known, known)
    try:
        index = EvaluationIndex.build(settings.against, job.evaluation, exclude=settings.exclude, n=settings.n)
        check_unchanged(known, [*known, *index.facts["files"]])
    except DataError:
        shutil.rmtree(job.evaluation, ignore_errors=True)
        raise


def _run(job: Job, stage: Stage, engine: Engine, workers: int, options: Mapping[str, Any], reporter: Reporter) -> None:
    if stage == "match" and not (job.folder / "ranges.json").exists():
        ranges = plan_ranges(job.key_files, job.recipe.duplicates.keys_per_task)
        write_whole(job.folder / "ranges.json", json.dumps(ranges))
    todo = [number for number in range(job.num_tasks(stage)) if not job.is_done(stage, number)]
    sizes = [job.task_bytes(stage, number) for number in range(job.num_tasks(stage))]
    left = sum(sizes[number] for number in todo)
    reporter.begin(stage, len(todo), sum(sizes), sum(sizes) - left)
    if not todo:
        return
    if engine == "local":
        run_stage(job, stage, todo, workers, reporter)
    else:
        run_on_cluster(job, stage, engine, workers, options)
        reporter.advance(0, left)


def _check_disk(job: Job, out: Path, tokenizer: Tokenizer) -> None:
    """Tokens are written twice, keys and tables once: about as much as the text, or twice that with large ids."""
    text = sum(size * (_UNPACKED if path.endswith(_PACKED) else 1) for path, (size, _) in job.facts["inputs"].items())
    needed = int(text * (1.5 if tokenizer.vocab_size <= 65536 else 2.5))
    there = sum(file.stat().st_size for file in job.folder.rglob("*") if file.is_file())
    remedy = "Free some space, choose another disk, or build from fewer sources at a time."
    check_free_space(out, needed - there, f"a corpus of about {size_text(text)} of text", remedy)


def _num_cpus() -> int:
    """That this process may use, where the system says so."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
