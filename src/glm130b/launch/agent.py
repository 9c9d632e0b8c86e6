"""torchrun's agent of one machine, which also knows when not to start again."""

from __future__ import annotations

import json
import os
import signal
import socket
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch.distributed.elastic.agent.server.api import RunResult, WorkerGroup, WorkerSpec, WorkerState
from torch.distributed.elastic.agent.server.local_elastic_agent import LocalElasticAgent
from torch.distributed.elastic.multiprocessing import LogsDest, LogsSpecs
from torch.distributed.elastic.rendezvous import RendezvousError
from torch.distributed.elastic.utils.store import barrier

from glm130b.launch.diagnosis import name_ranks
from glm130b.launch.folder import EXIT_START_AGAIN, Ending, Event, LaunchFolder
from glm130b.launch.verdict import Failure, Verdict, decide
from glm130b.launch.worker import ATTEMPT, RESUME

NO_LIMIT = 1_000_000
"""Restarts that torchrun's agent may make; it is told by ``Agent`` when there are to be no more."""

_KILL_SECONDS = 30
_BARRIER_SECONDS, _PARTING_SECONDS = 60, 10
"""Workers end together: launchers wait so long for one another when the work is done, and when it has failed."""

_SAVED = (128 + signal.SIGINT, 128 + signal.SIGTERM)


class Agent(LocalElasticAgent):
    """Starts this machine's workers together with the agents of the others, and judges how they end.

    The agents of a job agree through the rendezvous store on the number of each attempt. That of the first machine
    writes what happened to ``events.jsonl`` and tells the terminal. Whether a failure ends the job is decided by
    ``decide`` from files that all can read, so that all decide alike.

    Args:
        save_seconds: how long workers may save when they are stopped.
        tell: prints a line for the person at the terminal.
    """

    def __init__(
        self,
        spec: WorkerSpec,
        folder: LaunchFolder,
        *,
        restarts: int,
        save_seconds: float,
        tell: Callable[[str], None],
    ) -> None:
        self._folder, self._restarts, self._save_seconds, self._tell = folder, restarts, int(save_seconds), tell
        self.attempt = 0
        self.verdict: Verdict | None = None
        self._launch = ""
        # The role has no name, and so no prefix is made of it: lines of rank 0 appear as they are.
        super().__init__(
            spec,
            _Logs(folder, lambda: self.attempt),
            log_line_prefix_template="${role_name}",
            shutdown_timeout=self._save_seconds,
            exit_barrier_timeout=_BARRIER_SECONDS,
        )

    @property
    def speaks(self) -> bool:
        """Whether this machine is the job's first."""
        return self._worker_group.group_rank in (None, 0)

    def exit_codes(self) -> dict[int, int | None]:
        """Of this machine's workers by local rank; None of those that run."""
        handlers = getattr(self._pcontext, "subprocess_handlers", {})
        return {local: handler.proc.poll() for local, handler in handlers.items()}

    def kill(self) -> None:
        """End all workers of this machine at once; what they say until then is still shown."""
        if self._pcontext is not None:
            self._pcontext.close(signal.SIGKILL, _KILL_SECONDS)

    def part(self) -> None:
        """Wait a little for the other machines to come here, too: one of them holds the store that all still use."""
        group: Any = self._worker_group
        with suppress(RuntimeError):
            barrier(group.store, group.group_world_size, "glm/parting", _PARTING_SECONDS)

    def judge(self) -> Verdict:
        """Decide on the attempt that has just ended, from what all machines have said so far."""
        folder, events = self._folder, self._events()
        return decide(
            folder.endings(self.attempt),
            folder.hang_reports(self.attempt),
            _hosts(events, self.attempt),
            folder.standing(),
            [_failure(event) for event in events if event["event"] == "failure" and event["attempt"] < self.attempt],
            self._restarts,
        )

    def record(self, kind: str, **facts: Any) -> None:
        """Add an event of this attempt, unless another machine has done so."""
        known = {(event["event"], event["attempt"]) for event in self._events()}
        if (kind, self.attempt) not in known:
            self._folder.append({"event": kind, "launch": self._launch, "attempt": self.attempt, **facts})

    def _events(self) -> list[Event]:
        return [event for event in self._folder.events() if event["launch"] == self._launch]

    def _start_workers(self, worker_group: WorkerGroup) -> dict[int, Any]:
        plan = self._agree(worker_group)
        self.attempt = int(plan["attempt"])
        os.environ.update({ATTEMPT: str(self.attempt), RESUME: plan["resume"]})
        started: dict[int, Any] = super()._start_workers(worker_group)
        return started

    def _agree(self, group: Any) -> dict[str, Any]:
        """The plan of this attempt: made by the first machine, read by the others."""
        store: Any = group.store
        # Each round of the rendezvous has keys of its own; below them lies what the whole job shares.
        self._launch = store.underlying_store.compare_set("glm/launch", "", uuid.uuid4().hex).decode()
        ranks = [worker.global_rank for worker in group.workers]
        here = {"host": socket.gethostname(), "launcher": os.getpid(), "ranks": ranks}
        store.set(f"glm/node/{group.group_rank}", json.dumps(here))
        if group.group_rank != 0:
            found: dict[str, Any] = json.loads(store.get("glm/plan"))
            return found
        nodes = [json.loads(store.get(f"glm/node/{rank}")) for rank in range(group.group_world_size)]
        plan = self._plan(nodes)
        store.set("glm/plan", json.dumps(plan))
        return plan

    def _plan(self, nodes: list[dict[str, Any]]) -> dict[str, Any]:
        """Conclude the attempt before this one, and number the next."""
        before = [event for event in self._events() if event["event"] == "start"]
        attempt = 1 + max((event["attempt"] for event in self._folder.events()), default=0)
        _, checkpoint = self._folder.standing()
        if before:
            self.attempt = before[-1]["attempt"]
            self._tell(f"{self._conclude(before[-1], nodes)}; restarting from {checkpoint or 'the beginning'}")
        began = any(self._folder.is_marked("began", event["attempt"]) for event in before)
        self.attempt = attempt
        self.record("start", nodes=nodes, checkpoint=checkpoint)
        return {"attempt": attempt, "resume": "auto" if began else ""}

    def _conclude(self, start: Event, nodes: list[dict[str, Any]]) -> str:
        """Record how the attempt that ``start`` began ended; a clause about it."""
        here = {(node["host"], node["launcher"]) for node in nodes}
        lost = [
            rank for node in start["nodes"] if (node["host"], node["launcher"]) not in here for rank in node["ranks"]
        ]
        failure = self.judge().failure
        if lost:
            who = name_ranks(lost, _hosts([start], self.attempt))
            failure = Failure(tuple(lost), f"the launcher of {who} is gone", *self._folder.standing())
        elif self._folder.is_marked("regroup", self.attempt):
            failure = None
        if failure is not None:
            self.record("failure", **asdict(failure), restart=True)
        reason = failure.reason if failure is not None else "another machine has come"
        change = f", on {len(nodes)} of {len(start['nodes'])} machines" if len(nodes) < len(start["nodes"]) else ""
        return reason + change

    def _monitor_workers(self, worker_group: WorkerGroup) -> RunResult:
        codes = self.exit_codes()
        failed = {local: code for local, code in codes.items() if code}
        saved = bool(failed) and all(code in _SAVED for code in failed.values())
        if saved and None in codes.values():
            return RunResult(state=WorkerState.HEALTHY)  # they were told to stop; the others are still saving
        if self.verdict is None and (failed or self._is_over_elsewhere()):
            for local, code in failed.items():
                rank = worker_group.workers[local].global_rank
                self._folder.report_ending(self.attempt, Ending(rank, socket.gethostname(), code))
            self.kill()
            verdict = self.judge()
            if verdict.restart and not failed:
                verdict = Verdict(False, EXIT_START_AGAIN, verdict.failure)
            if not (verdict.restart or (saved and self._folder.is_marked("regroup", self.attempt))):
                self.verdict = verdict
                self._remaining_restarts = 0
        result: RunResult = super()._monitor_workers(worker_group)
        return result

    def _is_over_elsewhere(self) -> bool:
        """Whether another machine has ended the job.

        Raises:
            RendezvousError: the machine that held the rendezvous is gone.
        """
        try:
            closed: bool = self._rdzv_handler.is_closed()
        except RendezvousError:
            self.kill()
            raise
        return closed

    def _stop_workers(self, worker_group: WorkerGroup) -> None:
        """Before a restart: let workers save if all is well and a machine has come; else there is nothing to save."""
        if self._folder.endings(self.attempt) or self._folder.is_marked("hang", self.attempt):
            self.kill()
        else:
            self._folder.mark("regroup", self.attempt)
            self._shutdown(timeout=self._save_seconds)


def _hosts(events: Sequence[Event], attempt: int) -> dict[int, str]:
    return {
        rank: node["host"]
        for event in events
        if event["event"] == "start" and event["attempt"] == attempt
        for node in event["nodes"]
        for rank in node["ranks"]
    }


def _failure(event: Event) -> Failure:
    return Failure(tuple(event["ranks"]), event["reason"], event["step"], event["checkpoint"])


class _Logs(LogsSpecs):
    """Every worker's streams into files of the run; those of rank 0 on the terminal, too."""

    def __init__(self, folder: LaunchFolder, attempt: Callable[[], int]) -> None:
        super().__init__()
        self._folder, self._attempt = folder, attempt

    @property
    def root_log_dir(self) -> str:
        return str(self._folder.run / "logs")

    def reify(self, envs: dict[int, dict[str, str]]) -> LogsDest:
        Path(self.root_log_dir).mkdir(parents=True, exist_ok=True)
        attempt = self._attempt()
        out, err = (
            {local: str(self._folder.log(attempt, int(env["RANK"]), stream)) for local, env in envs.items()}
            for stream in ("stdout", "stderr")
        )
        first = {local for local, env in envs.items() if env["RANK"] == "0"}
        shown_out, shown_err = ({local: found[local] for local in first} for found in (out, err))
        return LogsDest(out, err, shown_out, shown_err, dict.fromkeys(envs, os.devnull))
