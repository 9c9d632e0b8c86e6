"""The arithmetic of the decoding benchmark, and that it runs; what it measures is no matter of tests."""

from __future__ import annotations

import ctypes
import importlib
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "decode.py"
sys.path.insert(0, str(SCRIPT.parent / "rivals"))
rows, shape, read = (importlib.import_module(name) for name in ("rows", "shape", "read"))
sys.path.remove(str(SCRIPT.parent / "rivals"))


def test_a_row_is_the_median_of_each_rounds_ratio() -> None:
    times = {
        ("other", "decode"): [{"wall": wall, "cpu": 1.0} for wall in (4.0, 6.0, 90.0, 8.0, 2.0)],
        ("ours", "decode"): [{"wall": wall, "cpu": 0.5} for wall in (2.0, 2.0, 30.0, 2.0, 2.0)],
    }
    row = rows.Row("decode", ("other", "decode"), ("ours", "decode"), goal=3.0)
    found = row.judged(times, threads=2)
    assert found["wall"] == pytest.approx([2.0, 3.0, 3.0])
    assert found["cpu"] == pytest.approx([2.0, 2.0, 2.0])
    assert found["met"]
    assert not rows.Row("decode", row.over, row.under, goal=3.1).judged(times, 2)["met"]
    assert not rows.Row("decode", row.over, row.under, goal=2.9, at_most=True).judged(times, 2)["met"]
    assert "| decode | 2 | ≥ 3 | 3.000 | 2.000 – 3.000 | 2.000 | yes |" in rows.table([found])


def test_throughput_counts_every_row_of_a_batch() -> None:
    times = {("ours", "batch 1"): [{"wall": 1.0}], ("ours", "batch 4"): [{"wall": 2.0}]}
    row = rows.Row("batch 4", ("ours", "batch 1"), ("ours", "batch 4"), factor=4)
    assert row.judged(times, 1)["wall"][1] == 2.0


def test_a_size_is_judged_as_it_is() -> None:
    sizes = {("load", "peak"): [{"bytes": 110}], ("load", "file"): [{"bytes": 100}]}
    row = rows.Row("peak", ("load", "peak"), ("load", "file"), goal=1.1, at_most=True)
    assert row.judged(sizes, 1)["met"]


def test_the_goals_shape_has_the_size_that_is_claimed() -> None:
    goal = shape.Shape()
    assert round((goal.linear_parameters + goal.vocabulary * goal.hidden) / 1e9, 2) == 0.95
    tensors = dict(shape.llama_tensors(goal))
    linear = sum(torch.Size(size).numel() for name, size in tensors.items() if len(size) == 2 and name != "token_embd")
    assert linear == goal.linear_parameters


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("read")
    read.compiled(folder)
    return folder


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 40), min_size=1, max_size=4), st.integers(1, 5), st.data())
def test_reading_misses_no_line(library: Path, lines: list[int], parts: int, data: st.DataObject) -> None:
    """The parts' results change with any one byte of any tensor's whole lines."""
    tensors = [torch.zeros(64 * count + 3, dtype=torch.uint8) for count in lines]
    function = read.compiled(library).read_part
    function.restype = ctypes.c_uint64
    size = ctypes.c_size_t
    addresses = (ctypes.c_void_p * len(lines))(*[tensor.data_ptr() for tensor in tensors])
    sizes = (size * len(lines))(*[tensor.nbytes for tensor in tensors])

    def results() -> list[int]:
        return [function(addresses, sizes, size(len(lines)), size(part), size(parts)) for part in range(parts)]

    assert results() == [0] * parts
    where = data.draw(st.sampled_from([n for n, count in enumerate(lines) if count] or [None]))
    if where is not None:
        tensors[where][data.draw(st.integers(0, 64 * lines[where] - 1))] = 1
        assert sum(result != 0 for result in results()) == 1


def test_reading_counts_its_bytes(library: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        reading = read.Reading([torch.zeros(1000), torch.zeros(10, dtype=torch.int8)], library, pool, 2)
        reading()
    assert reading.num_bytes == 4010


@pytest.mark.slow
def test_a_dry_run_goes_through(tmp_path: Path) -> None:
    file = tmp_path / "found.json"
    command = [sys.executable, SCRIPT, "--dry-run", "--json", file]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(file.read_text())
    said = {row["text"] for row in found["rows"]}
    for part in ("product ÷ read", "decode ÷ read", "batch 4 ÷ batch 1", "memory on load ÷ file", "greedy, vocabulary"):
        assert any(part in text for text in said), part
    assert not any("llama.cpp" in text for text in said)
    assert all(row["text"] in done.stdout for row in found["rows"])
