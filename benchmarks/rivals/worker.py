"""One system in a process of its own, doing what it is told, one call at a time. Standard library alone.

A call is a line of JSON on standard input, ``{"method": …, arguments}``; the answer is a line of JSON on standard
output. Between calls the process sleeps in ``read``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Times = dict[str, float]
"""``wall`` and ``cpu``, in seconds; the second is the processor time of all threads."""

FOLDER = Path(__file__).parent


def timed(work: Callable[[], object]) -> Times:
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}


def resident() -> dict[str, int]:
    """Bytes of this process in memory: all, the most there were, and those that are of no file."""
    status = Path("/proc/self/status").read_text()
    names = {"now": "VmRSS:", "peak": "VmHWM:", "anonymous": "RssAnon:"}
    return {key: int(status.split(name)[1].split()[0]) * 1024 for key, name in names.items()}


def serve(make: Callable[..., object]) -> None:
    """Answer calls to the methods of what ``make`` makes from the command line's JSON, until the input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    system = make(**json.loads(sys.argv[1]))
    print(json.dumps({"ready": True}), file=answers, flush=True)
    for line in sys.stdin:
        call = json.loads(line)
        print(json.dumps(getattr(system, call.pop("method"))(**call)), file=answers, flush=True)


class Worker:
    """The other end: a worker started from this process."""

    def __init__(self, python: Path, script: str, log: Path, *, threads: int, **options: Any) -> None:
        """Start ``script`` with these options and wait until it is ready."""
        self.script, self.log = script, log
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONDONTWRITEBYTECODE": "1"}
        self._process = subprocess.Popen(
            [python, FOLDER / f"{script}.py", json.dumps(options | {"threads": threads})],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log.open("a"),
            text=True,
            env=environment,
        )
        self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            sys.exit(f"{self.script} has stopped; the end of {self.log}:\n{self.log.read_text()[-2000:]}")
        return json.loads(line)

    def __call__(self, method: str, **arguments: Any) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"method": method, **arguments}) + "\n")
        self._process.stdin.flush()
        return self._answer()

    @property
    def cpu_seconds(self) -> float:
        """Processor time of all its threads so far."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
