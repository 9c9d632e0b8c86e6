"""The rank that the others wait for."""

from __future__ import annotations

import pytest

from glm130b.launch import HangReport, diagnose

HOSTS = {0: "a", 1: "a", 2: "b", 3: "b"}


def reports(*facts: tuple[str, int, bool] | None) -> list[HangReport]:
    """Of each rank its phase, step, and whether it waits in a collective; None for one that says nothing."""
    return [
        HangReport(rank, HOSTS[rank], fact[0], fact[1], 600.0, "samples/stream.py:175, __getitem__", fact[2])
        for rank, fact in enumerate(facts)
        if fact is not None
    ]


WAITS, COMPUTES = ("forward-backward", 120, True), ("forward-backward", 120, False)


@pytest.mark.parametrize(
    ("found", "ranks", "text"),
    [
        (
            reports(WAITS, WAITS, WAITS, ("loader", 120, False)),
            (3,),
            "rank 3 on host b hung in the loader at step 120 (samples/stream.py:175, __getitem__)",
        ),
        (reports(WAITS, ("checkpoint", 119, False), WAITS, WAITS), (1,), "rank 1 on host a hung in a checkpoint"),
        (reports(WAITS, COMPUTES, WAITS, WAITS), (1,), "rank 1 on host a hung in forward-backward at step 120"),
        (
            reports(WAITS, WAITS, None, None),
            (2, 3),
            "ranks 2, 3 on host b is stopped, or the machine is: no sign of life for 600 s while the others waited "
            "in forward-backward at step 120",
        ),
        (reports(WAITS, WAITS, ("loader", 120, False), ("loader", 120, False)), (2, 3), "ranks 2, 3 on host b hung"),
        (reports(("start", 0, False), *[("waiting", 0, True)] * 3), (0,), "rank 0 on host a hung while starting"),
    ],
)
def test_the_culprit_is_named(found: list[HangReport], ranks: tuple[int, ...], text: str) -> None:
    diagnosis = diagnose(found, HOSTS)
    assert diagnosis.ranks == ranks
    assert diagnosis.text.startswith(text)


def test_who_stands_by_is_no_culprit() -> None:
    found = reports(WAITS, COMPUTES, ("standby", 0, False), ("standby", 0, False))
    assert diagnose(found, HOSTS).ranks == (1,)


@pytest.mark.parametrize("alike", [WAITS, COMPUTES, ("loader", 120, False)])
def test_where_all_look_alike_nobody_is_blamed(alike: tuple[str, int, bool]) -> None:
    diagnosis = diagnose(reports(*[alike] * 4), HOSTS)
    assert diagnosis.ranks == ()
    assert "none is behind the others" in diagnosis.text


def test_a_process_alone_is_its_own_culprit() -> None:
    assert diagnose(reports(COMPUTES), {0: "a"}).ranks == (0,)
