"""The loader: the same sequences however they are made, and faults with their own sentences."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from typing import Any

import numpy as np
import pytest

from glm130b.config import LoaderConfig
from glm130b.errors import DataError, ResourceError
from glm130b.training.loader import Loader


class Numbers:
    """Stands for a stream: sequence i is i, but some numbers bring trouble."""

    def __init__(self, **trouble: int) -> None:
        self.trouble = trouble

    def __getitem__(self, index: int) -> Any:
        if index == self.trouble.get("bad"):
            raise DataError(f"Piece {index} is damaged.", "Copy it again.")
        if index == self.trouble.get("hang"):
            time.sleep(4)
        if index == self.trouble.get("kill"):
            os.kill(os.getpid(), signal.SIGKILL)
        return np.full(3, index)


def loader(workers: int, consumed: int = 0, skip: tuple[tuple[int, int], ...] = (), **trouble: int) -> Loader:
    stream: Any = Numbers(**trouble)
    return Loader(stream, LoaderConfig(workers=workers, prefetch=2, stall_seconds=1.0), consumed, skip)


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_sequences_do_not_depend_on_the_processes(workers: int) -> None:
    skip = ((5, 9), (12, 13))
    source = loader(workers, 2, skip)
    found = []
    for size in (1, 4, 2, 5):
        places, sequences, waited = source.take(size)
        assert places == list(range(size))
        assert waited >= 0
        found += [int(sequence[0]) for sequence in sequences]
    source.close()
    assert source.consumed == 14
    assert found == [n for n in range(100) if not any(first <= n < end for first, end in skip)][2:14]


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("ranks", [2, 3, 5])
def test_ranks_divide_the_sequences_among_them(workers: int, ranks: int) -> None:
    """Whatever a step takes, number i is rank i mod n's, and places count within the step."""
    skip = ((5, 9), (12, 13))
    seen: dict[int, int] = {}
    for rank in range(ranks):
        stream: Any = Numbers()
        config = LoaderConfig(workers=workers, prefetch=2, stall_seconds=1.0)
        source, drawn = Loader(stream, config, 2, skip, part=(rank, ranks)), 2
        for size in (1, 4, 2, 5):
            places, sequences, _ = source.take(size)
            assert all((drawn + place) % ranks == rank for place in places)
            seen |= {drawn + place: int(sequence[0]) for place, sequence in zip(places, sequences, strict=True)}
            drawn += size
        source.close()
    expected = [n for n in range(100) if not any(first <= n < end for first, end in skip)]
    assert [seen[consumed] for consumed in sorted(seen)] == expected[2:14]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_fault_keeps_its_sentence(workers: int) -> None:
    source = loader(workers, bad=3)
    source.take(3)
    with pytest.raises(DataError, match=r"^Piece 3 is damaged. Copy it again.$"):
        source.take(1)
    source.close()


@pytest.mark.slow
@pytest.mark.parametrize("trouble", ["hang", "kill"])
def test_a_stall_and_a_dead_process_are_told(trouble: str) -> None:
    source = loader(1, **{trouble: 2})
    source.take(2)
    with pytest.raises(ResourceError, match="Sequence 2 does not come from the loader's processes: DataLoader"):
        source.take(1)
    source.close()
    for process in multiprocessing.active_children():
        process.kill()


def test_a_signal_to_the_group_leaves_the_processes_alive() -> None:
    source = loader(1)
    source.take(1)
    for process in multiprocessing.active_children():
        assert process.pid is not None
        os.kill(process.pid, signal.SIGINT)
        os.kill(process.pid, signal.SIGTERM)
    assert [int(sequence[0]) for sequence in source.take(8)[1]] == list(range(1, 9))
    source.close()
