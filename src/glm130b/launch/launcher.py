"""Starts a job on this machine, alone or together with others, and sees it through."""

from __future__ import annotations

import io
import logging
import os
import signal
import socket
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from glm130b.config import ElasticConfig
from glm130b.errors import ResourceError
from glm130b.launch.folder import EXIT_START_AGAIN, LaunchFolder
from glm130b.launch.machines import ALONE, Machines, prepare_environment, quiet_torch
from glm130b.launch.verdict import Verdict

if TYPE_CHECKING:
    from torch.distributed.elastic.rendezvous import RendezvousHandler

    from glm130b.launch.agent import Agent

_LAST_LINES = 20
_SAVE_PATIENCE = 6
"""Times ``elastic.hang_seconds`` that stopped workers may take to save."""


def launch(
    command: Sequence[str], run: Path, elastic: ElasticConfig, *, nproc: int, machines: Machines | None = None
) -> int:
    """Run ``command`` as every worker of a job until it is done, stopped, or cannot go on.

    Args:
        command: program and arguments of a worker; it has to be a ``worker``.
        run: the run's folder, on a file system that all machines share.
        nproc: workers on this machine.
        machines: those of the job; by default this one.

    Returns:
        The exit code: 0 done; 1 crashed too often; 128 + the signal's number; ``EXIT_START_AGAIN`` if the
        rendezvous is gone.

    Raises:
        GLMError: the user's error that a worker ended with; or the machines do not come together.
    """
    with quiet_torch():
        from torch.distributed.elastic.agent.server.api import WorkerSpec
        from torch.distributed.elastic.multiprocessing import SignalException
        from torch.distributed.elastic.rendezvous import RendezvousError, RendezvousTimeoutError

        from glm130b.launch.agent import NO_LIMIT, Agent

    machines = machines or Machines()
    folder = LaunchFolder(run)
    prepare_environment(nproc, machines)
    _log_to(folder)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)
    handler = _rendezvous(run, machines)
    agent = Agent(
        WorkerSpec("", nproc, handler, entrypoint=command[0], args=tuple(command[1:]), max_restarts=NO_LIMIT),
        folder,
        restarts=elastic.restarts,
        save_seconds=_SAVE_PATIENCE * elastic.hang_seconds,
        tell=_tell,
    )
    try:
        result = agent.run()
    except SignalException as stop:
        for kind in (signal.SIGINT, signal.SIGTERM):
            signal.signal(kind, signal.SIG_IGN)
        agent.kill()  # a second signal has cut the first one's patience short
        agent.part()
        return _stopped(agent, folder, stop.sigval)
    except RendezvousTimeoutError:
        if agent.attempt:
            _tell("Too few machines are left; start the job again.")
            return EXIT_START_AGAIN
        raise ResourceError(
            f"Fewer than {machines.fewest} machines have come to the rendezvous {machines.rendezvous}.",
            "Start the same command on all of them, and see that they reach its port.",
        ) from None
    except RendezvousError:  # another machine has closed it, or is gone with it
        verdict = agent.judge()
        if not verdict.restart:
            return _ended(agent, folder, verdict)
        _tell("The rendezvous is gone, or closed; start the job again.")
        return EXIT_START_AGAIN
    failed = agent.verdict is not None and agent.verdict.failure is not None
    if not failed:
        agent.part()  # elsewhere some may still be saving
    handler.shutdown()  # where workers still run they are ended
    if failed:
        agent.part()
    if agent.verdict is not None:
        return _ended(agent, folder, agent.verdict)
    if result is None or result.is_failed():
        return EXIT_START_AGAIN
    agent.record("end", exit_code=0)
    return 0


def _ended(agent: Agent, folder: LaunchFolder, verdict: Verdict) -> int:
    """Say why the job ended, once for all machines."""
    failure = verdict.failure
    if failure is not None:
        agent.record("failure", **asdict(failure), restart=False)
    agent.record("end", exit_code=verdict.exit_code)
    if failure is None or not agent.speaks:
        return verdict.exit_code
    if verdict.error is not None:
        raise verdict.error
    for rank in failure.ranks[:1]:
        log = folder.last_words(agent.attempt, rank)
        _tell("\n  ".join([f"The last lines of {log}:", *_last_lines(log)]))
    _tell(f"Stopped: {'; '.join(filter(None, [failure.reason, verdict.note]))}.")
    return verdict.exit_code


def _stopped(agent: Agent, folder: LaunchFolder, kind: signal.Signals) -> int:
    """Record that a signal ended the job; whoever saved has said so itself."""
    code = 128 + kind
    if agent.speaks:
        if any(found not in (0, code) for found in agent.exit_codes().values()):
            _, checkpoint = folder.standing()
            _tell(f"Stopped before all ranks had saved; the newest checkpoint is {checkpoint or 'still to come'}.")
        agent.record("end", exit_code=code)
    return code


def _rendezvous(run: Path, machines: Machines) -> RendezvousHandler:
    from torch.distributed.elastic.rendezvous import RendezvousError, RendezvousParameters, registry

    try:
        return registry.get_rendezvous_handler(
            RendezvousParameters(
                backend="c10d",
                endpoint=machines.rendezvous,
                run_id=f"glm-{run.name}",
                min_nodes=machines.fewest,
                max_nodes=machines.most,
                local_addr=ALONE if machines.alone else None,
                **machines.options,
            )
        )
    except RendezvousError:
        raise ResourceError(
            f"The rendezvous {machines.rendezvous} cannot be reached from {socket.gethostname()}.",
            "Start the command on that machine, too; see that the port is free there and open to the others.",
        ) from None


def _log_to(folder: LaunchFolder) -> None:
    """Send what PyTorch's launcher says to a file: on the terminal it would bury what matters."""
    file = folder.run / "logs" / f"launcher-{socket.gethostname()}-{os.getpid()}.log"
    file.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(file, delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logger = logging.getLogger("torch.distributed.elastic")
    logger.handlers, logger.propagate = [handler], False


def _last_lines(file: Path) -> list[str]:
    return file.read_text(encoding="utf-8", errors="replace").splitlines()[-_LAST_LINES:] if file.exists() else []


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
