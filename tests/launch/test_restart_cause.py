"""Why a job was started anew, as its folder tells the ledger of the next attempt."""

from __future__ import annotations

from pathlib import Path

from glm130b.launch import LaunchFolder


def test_the_cause_is_that_of_the_attempt_just_before(tmp_path: Path) -> None:
    folder = LaunchFolder(tmp_path)
    assert folder.restart_cause() is None
    folder.append({"event": "start", "attempt": 1})
    assert folder.restart_cause() is None
    folder.append({"event": "failure", "attempt": 1, "reason": "rank 1 was killed by SIGKILL"})
    folder.append({"event": "start", "attempt": 2})
    assert folder.restart_cause() == "rank 1 was killed by SIGKILL"
    folder.append({"event": "end", "attempt": 2, "exit_code": 0})
    folder.append({"event": "start", "attempt": 3})
    assert folder.restart_cause() is None
