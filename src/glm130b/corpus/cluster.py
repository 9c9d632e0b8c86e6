"""The tasks of a stage on datatrove's executors: on one machine, with Slurm, or with Ray."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, redirect_stderr
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from glm130b.corpus.job import Job, Stage
from glm130b.corpus.stages import run_task
from glm130b.errors import ConfigError, GLMError, ResourceError

ClusterEngine = Literal["datatrove", "slurm", "ray"]

_POLL_SECONDS = 15.0


class StageStep:
    """One stage as a step of a datatrove pipeline: a callable of (data, rank, world size)."""

    def __init__(self, folder: Path, stage: Stage) -> None:
        self.folder, self.stage = folder, stage
        self.name = f"glm130b {stage}"

    def __call__(self, data: Any, rank: int = 0, world_size: int = 1) -> None:
        """Run the task whose number is ``rank``."""
        run_task(self.folder, self.stage, rank)


def run_on_cluster(job: Job, stage: Stage, engine: ClusterEngine, workers: int, options: Mapping[str, Any]) -> None:
    """Run all unfinished tasks of a stage and wait for them.

    Args:
        workers: tasks at a time; -1 for no limit.
        options: arguments of datatrove's executor (``partition``, ``time``, ``cpus_per_task``, …).

    Raises:
        ConfigError: datatrove (or ray) is not installed, or an option is missing or unknown.
        ResourceError: tasks did not finish.
    """
    kind = _executor(engine)
    num_tasks = job.num_tasks(stage)
    logs = job.folder / "logs" / stage
    shutil.rmtree(logs / "completions", ignore_errors=True)  # what is done is known by its result
    arguments = {"tasks": num_tasks, "workers": workers, "logging_dir": str(logs.resolve()), **options}
    if engine == "slurm":
        arguments.setdefault("job_name", f"glm-{stage}")
    try:
        executor = kind(pipeline=[StageStep(job.folder.resolve(), stage)], **arguments)
    except TypeError as error:
        raise ConfigError(f"The options of engine {engine} do not fit: {error}.", "Mend --engine-options.") from None
    logs.mkdir(parents=True, exist_ok=True)
    with _ray_started() if engine == "ray" else nullcontext():
        try:
            with _log_to(logs / "datatrove.log"):
                executor.run()
        except GLMError:
            raise
        except Exception as error:
            raise ResourceError(
                f"Engine {engine} failed in stage {stage}: {type(error).__name__}: {error}.",
                f"Its logs are in {logs}; the same command goes on.",
            ) from error
    if engine == "slurm":
        _wait_for_slurm(job, stage, str(executor.job_id))
    missing = [number for number in range(num_tasks) if not job.is_done(stage, number)]
    if missing:
        raise ResourceError(
            f"{len(missing)} of {num_tasks} tasks did not finish, the first is {job.task_name(stage, missing[0])}.",
            f"See the logs in {logs}; the same command goes on.",
        )


def _executor(engine: ClusterEngine) -> Any:
    try:
        from datatrove import executor

        if engine == "ray":
            import_module("ray")
    except ImportError as error:
        raise ConfigError(
            f"Engine {engine} needs {error.name}, which is not installed.",
            "Install it: pip install 'glm130b[cluster]'" + (" ray." if engine == "ray" else "."),
        ) from None
    names = {"datatrove": "LocalPipelineExecutor", "slurm": "SlurmPipelineExecutor", "ray": "RayPipelineExecutor"}
    return getattr(executor, names[engine])


@contextmanager
def _log_to(path: Path) -> Iterator[None]:
    """Let datatrove, which logs every task to stderr, and its processes log to a file while the block runs."""
    from datatrove.utils.logging import setup_default_logger

    sys.stderr.flush()
    terminal = os.dup(2)
    try:
        with path.open("a", encoding="utf-8") as log, redirect_stderr(log):
            os.dup2(log.fileno(), 2)
            setup_default_logger()
            yield
    finally:
        os.dup2(terminal, 2)
        os.close(terminal)
        setup_default_logger()


def _ray_started() -> AbstractContextManager[Any]:
    ray = import_module("ray")
    return nullcontext() if ray.is_initialized() else ray.init()


def _wait_for_slurm(job: Job, stage: Stage, slurm_job: str) -> None:
    """Until all results are there, or Slurm knows nothing more of the job."""
    while not all(job.is_done(stage, number) for number in range(job.num_tasks(stage))):
        queue = subprocess.run(["squeue", "-h", "-j", slurm_job], capture_output=True, text=True, check=False)
        if queue.returncode or not queue.stdout.strip():
            return
        time.sleep(_POLL_SECONDS)
