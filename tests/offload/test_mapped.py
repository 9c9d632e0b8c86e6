"""Which units stay in memory: the decisions, played through without any memory, and the pages themselves."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

from glm130b.offload import mapped
from glm130b.offload.mapped import MappedUnits
from glm130b.offload.pages import MappedFiles, Resident, bring

BASE = 1000


class Machine:
    """A process of ``BASE`` bytes and the units that have been brought in."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.there: dict[int, int] = {}
        self.reads = 0
        self.own = BASE
        self.peak = BASE
        monkeypatch.setattr(mapped, "bring", self.bring)

    def bring(self, tensor: Tensor) -> None:
        assert tensor.data_ptr() not in self.there
        self.there[tensor.data_ptr()] = tensor.nbytes
        self.reads += 1
        self.peak = max(self.peak, self.resident().total)

    def let_go(self, tensors: Iterable[Tensor]) -> None:
        for tensor in tensors:
            del self.there[tensor.data_ptr()]

    def resident(self) -> Resident:
        return Resident(self.own + sum(self.there.values()), self.own)


def units_of(sizes: list[int]) -> list[list[Tensor]]:
    return [[torch.zeros(size, dtype=torch.uint8)] for size in sizes]


def settle(units: MappedUnits) -> None:
    """Let what is on its way arrive."""
    if units._ahead is not None:
        units._ahead[1].result()


@given(st.lists(st.integers(1, 50), min_size=3, max_size=9), st.integers(0, 300), st.integers(1, 4))
def test_memory_stays_within_the_limit_and_what_is_used_is_there(sizes: list[int], more: int, passes: int) -> None:
    neighbours = max(a + b for a, b in zip(sizes, [*sizes[1:], sizes[0]], strict=True))
    with pytest.MonkeyPatch.context() as patch:
        machine = Machine(patch)
        tensors = units_of(sizes)
        units = MappedUnits(tensors, machine.let_go, BASE + neighbours + more, resident=machine.resident)
        for _ in range(passes):
            for n in range(len(sizes)):
                units.enter(n)
                assert tensors[n][0].data_ptr() in machine.there
                settle(units)
        assert machine.peak <= BASE + neighbours + more
        if more >= sum(sizes):
            assert machine.reads == len(sizes)


def reads_of_best(num_units: int, room: int, passes: int) -> int:
    """Belady: whenever there is no room, give up the unit whose next use is farthest off; never the one in use."""
    order = [n for _ in range(passes) for n in range(num_units)]
    there: set[int] = set()
    reads = 0
    for time, unit in enumerate(order):
        if unit in there:
            continue
        reads += 1
        if len(there) == room:
            later = {n: (order[time + 1 :] + [n] * num_units).index(n) for n in there}
            there.remove(max(later, key=lambda n: later[n]))
        there.add(unit)
    return reads


@pytest.mark.parametrize("room", [2, 3, 5, 8, 10])
def test_reads_nearly_as_little_as_is_possible(room: int, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch)
    units = MappedUnits(units_of([10] * 10), machine.let_go, BASE + 10 * room, resident=machine.resident)
    passes = 6
    for n in [n for _ in range(passes) for n in range(10)]:
        units.enter(n)
        settle(units)
    # One place is taken by what is brought in ahead, which the best possible order does not do.
    assert reads_of_best(10, room, passes) <= machine.reads <= reads_of_best(10, room - 1, passes) + 1


def test_units_give_way_to_activations(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch)
    units = MappedUnits(units_of([10] * 6), machine.let_go, BASE + 60, resident=machine.resident)
    for n in range(5):
        units.enter(n)
        settle(units)
    assert machine.resident().total == BASE + 60
    machine.own += 25
    units.at_fullest()
    assert machine.resident().total <= BASE + 60
    machine.own -= 25
    units.enter(5)
    settle(units)
    machine.own += 25
    assert machine.resident().total <= BASE + 60  # their room is kept free within the pass
    machine.own -= 25
    for n in range(6):
        units.enter(n)
        settle(units)
    assert len(machine.there) == 6  # and not after it


def test_a_pass_that_was_broken_off_leaves_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch)
    units = MappedUnits(units_of([10] * 6), machine.let_go, BASE + 30, resident=machine.resident)
    for n in [0, 1, 2, 0, 0, 1, 4, 5, 0]:
        units.enter(n)
        settle(units)
        assert machine.resident().total <= BASE + 30


def resident_file_pages() -> int:
    now = Resident.now()
    return now.total - now.own


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is measured by Linux, in /proc")
def test_pages_are_brought_in_and_let_go_and_come_back(tmp_path: Path) -> None:
    values = torch.arange(1 << 23, dtype=torch.int32)
    save_file({"small": torch.ones(3), "large": values}, tmp_path / "file")
    tensor = load_file(tmp_path / "file")["large"]
    assert MappedFiles().hold(tensor)
    MappedFiles().let_go([tensor])
    before = resident_file_pages()
    bring(tensor)
    assert resident_file_pages() - before > 0.95 * tensor.nbytes
    MappedFiles().let_go([tensor])
    assert resident_file_pages() - before < 0.05 * tensor.nbytes
    assert torch.equal(tensor, values)


def test_pages_are_brought_in_where_the_kernel_cannot_be_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_file({"large": torch.arange(1 << 22)}, tmp_path / "file")
    tensor = load_file(tmp_path / "file")["large"]
    MappedFiles().let_go([tensor])
    before = resident_file_pages()
    monkeypatch.setattr("glm130b.offload.pages._MADVISE", None)
    bring(tensor)
    assert resident_file_pages() - before > 0.95 * tensor.nbytes


def test_only_files_are_let_go() -> None:
    """Pages of ordinary memory would come back as zeros."""
    files = MappedFiles()
    assert not files.hold(torch.ones(1 << 22))
    assert not files.hold(torch.ones(0))
