"""When a job is started again, and when not."""

from __future__ import annotations

import signal

import pytest

from glm130b.errors import DataError
from glm130b.launch import EXIT_START_AGAIN, Ending, Failure, HangReport, decide

HOSTS = {0: "a", 1: "a", 2: "b"}
RESET = Ending(0, "a", 1, "RuntimeError: Connection closed by peer", time=1.0)
KILLED = Ending(2, "b", -signal.SIGKILL, time=2.0)


def failures(*standings: tuple[int, str]) -> list[Failure]:
    return [Failure((1,), "…", *standing) for standing in standings]


@pytest.mark.parametrize(
    ("endings", "ranks", "reason"),
    [
        ([RESET, KILLED], (2,), "rank 2 on host b was killed by SIGKILL"),
        ([RESET, Ending(1, "a", -signal.SIGABRT, time=0.5)], (0,), "rank 0 on host a ended with exit code 1: Runtime"),
        ([RESET, Ending(1, "a", 1, "ValueError: a bug", time=0.9)], (1,), "rank 1 on host a ended with exit code 1: V"),
        ([Ending(1, "a", 1)], (1,), "rank 1 on host a ended with exit code 1"),
        ([Ending(1, "a", EXIT_START_AGAIN)], (1,), "rank 1 on host a gave up after a hang"),
        ([], (0, 1, 2), "no word came from ranks 0-2 on hosts a, b"),
    ],
)
def test_crashes_restart_and_the_cause_is_told_from_its_consequences(
    endings: list[Ending], ranks: tuple[int, ...], reason: str
) -> None:
    verdict = decide(endings, [], HOSTS, (7, "step-00000005"), [], restarts=3)
    assert verdict.restart
    assert verdict.failure is not None
    assert verdict.failure.ranks == ranks
    assert verdict.failure.reason.startswith(reason)
    assert (verdict.failure.step, verdict.failure.checkpoint) == (7, "step-00000005")


def test_a_hang_restarts() -> None:
    hangs = [
        HangReport(0, "a", "optimizer", 8, 9.0),
        *[HangReport(rank, HOSTS[rank], "loader", 8, 9.0) for rank in (1, 2)],
    ]
    verdict = decide([Ending(0, "a", EXIT_START_AGAIN)], hangs, HOSTS, (7, ""), [], restarts=3)
    assert verdict.restart
    assert verdict.failure is not None
    assert verdict.failure.ranks == (1, 2)


def test_a_user_s_error_ends_the_job_whatever_else_happened() -> None:
    mistake = Ending(1, "a", 4, "shard-7 is damaged.", "Copy it again.", time=3.0)
    verdict = decide([RESET, mistake, KILLED], [], HOSTS, (7, ""), [], restarts=3)
    assert (verdict.restart, verdict.exit_code) == (False, 4)
    assert isinstance(verdict.error, DataError)
    assert (verdict.error.problem, verdict.error.next_step) == ("shard-7 is damaged.", "Copy it again.")
    usage = decide([Ending(0, "a", 2)], [], HOSTS, (0, ""), [], restarts=3)
    assert (usage.restart, usage.exit_code, usage.error) == (False, 2, None)


@pytest.mark.parametrize("code", [130, 143])
def test_workers_that_saved_and_stopped_end_the_job(code: int) -> None:
    verdict = decide([Ending(rank, HOSTS[rank], code) for rank in HOSTS], [], HOSTS, (7, ""), [], restarts=3)
    assert (verdict.restart, verdict.exit_code, verdict.failure) == (False, code, None)


def test_the_third_failure_of_one_step_in_a_row_is_the_last() -> None:
    def goes_on(*earlier: tuple[int, str]) -> bool:
        return decide([RESET], [], HOSTS, (7, "step-00000005"), failures(*earlier), restarts=100).restart

    assert goes_on((7, "step-00000005"))
    assert goes_on((7, "step-00000005"), (7, "step-00000005"), (6, "step-00000005"))
    assert goes_on((7, ""), (7, "step-00000005"))
    assert not goes_on((3, ""), (7, "step-00000005"), (7, "step-00000005"))
    last = decide([RESET], [], HOSTS, (7, "x"), failures((7, "x"), (7, "x")), restarts=100)
    assert (last.exit_code, last.note) == (1, "step 8 failed 3 times in a row")


def test_restarts_are_counted() -> None:
    assert decide([RESET], [], HOSTS, (7, ""), failures((1, "")), restarts=2).restart
    last = decide([RESET], [], HOSTS, (7, ""), failures((1, ""), (2, "")), restarts=2)
    assert (last.restart, last.exit_code) == (False, 1)
    assert "elastic.restarts" in last.note
