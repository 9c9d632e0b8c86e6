"""A job that trains nothing: workers that keep in step through files, and fail on demand.

``stand_in.py launch RUN OPTIONS`` is the launcher, ``stand_in.py work RUN OPTIONS`` what it starts; OPTIONS are
JSON. ``stand_in.py train CONFIG --out RUN …`` is the launcher with the options of ``glm train``. A fault is
``[attempt, rank, step, kind]``; attempt 0 means each. There is no PyTorch in a worker.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from glm130b.config import ElasticConfig
from glm130b.errors import DataError, GLMError
from glm130b.launch import Machines, Worker, launch, worker

DEFAULTS: dict[str, Any] = {"steps": 8, "nproc": 2, "hang_seconds": 60.0, "restarts": 20, "pause": 0.0, "faults": []}


def start(run: Path, options: dict[str, Any]) -> int:
    elastic = ElasticConfig(hang_seconds=options["hang_seconds"], restarts=options["restarts"])
    command = [sys.executable, __file__, "work", str(run), json.dumps(options)]
    machines = Machines(**options["machines"]) if "machines" in options else None
    try:
        return launch(command, run, elastic, nproc=options["nproc"], machines=machines)
    except GLMError as error:
        print(f"Error: {error.problem}\n{error.next_step}", file=sys.stderr)
        return error.exit_code


class Stopped(SystemExit):
    pass


class Neighbours:
    """All ranks of an attempt, each of which says through files how far it has come."""

    def __init__(self, run: Path, me: Worker) -> None:
        self.folder = run / "sync" / os.environ["GLM_ATTEMPT"]
        self.folder.mkdir(parents=True, exist_ok=True)
        self.me, self.asked = me, 0
        for kind in (signal.SIGINT, signal.SIGTERM):
            signal.signal(kind, self.ask)
        (self.folder / f"pid-{me.rank}").write_text(str(os.getpid()))

    def ask(self, kind: int, _frame: FrameType | None) -> None:
        self.asked = kind

    def meet(self, step: int) -> int:
        """Wait for the others as in a collective; the signal by which any of them was asked to stop."""
        partial = self.folder / f"partial-{self.me.rank}"
        partial.write_text(str(self.asked))
        partial.rename(self.folder / f"step-{step}-{self.me.rank}")
        files = [self.folder / f"step-{step}-{rank}" for rank in range(self.me.world_size)]
        while not all(file.exists() for file in files):
            for rank in range(self.me.world_size):
                self.check(rank)
            time.sleep(0.005)
        return max(int(file.read_text()) for file in files)

    def check(self, rank: int) -> None:
        try:
            os.kill(int((self.folder / f"pid-{rank}").read_text()), 0)
        except ProcessLookupError:
            raise RuntimeError("Connection closed by peer") from None
        except (FileNotFoundError, ValueError):
            pass


def load(kind: str) -> None:
    if kind == "hang":
        time.sleep(1000)
    if kind == "freeze":
        os.kill(os.getpid(), signal.SIGSTOP)
    if kind == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "crash":
        raise RuntimeError("a bug")
    if kind == "user":
        raise DataError("shard-7 is damaged.", "Copy it again.")


def work(run: Path, options: dict[str, Any]) -> int:
    with worker(run, ElasticConfig(hang_seconds=options["hang_seconds"])) as me:
        return train(run, options, me)


def train(run: Path, options: dict[str, Any], me: Worker) -> int:
    others, attempt = Neighbours(run, me), int(os.environ["GLM_ATTEMPT"])
    saved = max((int(path.name[5:]) for path in (run / "checkpoints").glob("step-*")), default=0)
    print(f"rank {me.rank} of {me.world_size} from step {saved}")
    metrics = run / "metrics.jsonl"
    others.meet(-1)
    if me.first:
        lines = metrics.read_text().splitlines()[:saved] if metrics.exists() else []
        metrics.write_text("".join(f"{line}\n" for line in lines))
    for step in range(saved + 1, options["steps"] + 1):
        me.beat("loader", step)
        for when, rank, where, kind in options["faults"]:
            if when in (0, attempt) and (rank, where) == (me.rank, step):
                load(kind)
        time.sleep(options["pause"])
        me.beat("forward-backward", step)
        asked = others.meet(step)
        if me.first:
            with metrics.open("a") as file:
                file.write(json.dumps({"step": step}) + "\n")
            if step % 2 == 0 or asked:
                (run / "checkpoints" / f"step-{step:08d}").mkdir(parents=True)
        if asked:
            if me.first:
                print(f"Stopped after step {step}. Resume with: the same command")
            return 128 + asked
    return 0


def as_glm(words: list[str]) -> int:
    parser = argparse.ArgumentParser()
    for name in ("config", "--out", "--nodes", "--rendezvous", "--set"):
        parser.add_argument(name)
    given = parser.parse_args(words)
    machines = Machines.parse(given.nodes, given.rendezvous)
    return start(Path(given.out), {**DEFAULTS, **json.loads(given.set), "machines": vars(machines)})


def main() -> NoReturn:
    if sys.argv[1] == "train":
        sys.exit(as_glm(sys.argv[2:]))
    options = {**DEFAULTS, **json.loads(sys.argv[3])}
    sys.exit({"launch": start, "work": work}[sys.argv[1]](Path(sys.argv[2]), options))


if __name__ == "__main__":
    main()
