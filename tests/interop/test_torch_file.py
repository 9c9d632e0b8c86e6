"""Reading ``.pt`` files that may hold anything, and writing ones that PyTorch reads."""

from __future__ import annotations

import os
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from glm130b.errors import ModelError
from glm130b.interop.torch_file import TorchFile, write_torch_file
from glm130b.model import InMemory

TENSORS = {
    "a": torch.arange(12, dtype=torch.float16).view(3, 4),
    "b": torch.tensor([1, -2, 3], dtype=torch.int8),
    "c": torch.zeros(0, 5),
    "d": torch.tensor(2.5, dtype=torch.bfloat16),
    "e": torch.randn(2, 3, dtype=torch.float64),
}


def read_all(path: Path) -> dict[str, torch.Tensor]:
    source = TorchFile(path)
    return {name: source.read(name) for name in source.infos}


def equal(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> bool:
    return ours.keys() == theirs.keys() and all(
        ours[name].dtype == theirs[name].dtype and torch.equal(ours[name], theirs[name]) for name in theirs
    )


@pytest.mark.parametrize("mmap", [False, True])
def test_pytorch_reads_what_is_written(tmp_path: Path, mmap: bool) -> None:
    write_torch_file(tmp_path / "x.pt", InMemory(TENSORS))
    assert equal(torch.load(tmp_path / "x.pt", weights_only=True, mmap=mmap)["module"], TENSORS)
    assert equal(read_all(tmp_path / "x.pt"), TENSORS)
    with zipfile.ZipFile(tmp_path / "x.pt") as archive:
        assert archive.testzip() is None


def test_what_pytorch_writes_is_read(tmp_path: Path) -> None:
    shared = torch.arange(24.0)
    tensors = {
        **TENSORS,
        "columns": shared.view(4, 6)[:, 2:5],
        "turned": shared.view(4, 6).t(),
        "every other": shared[::2],
        "tail": shared[20:],
        "same value": torch.tensor(3.0).expand(4, 2),
        "one wide": shared.view(24, 1),
    }
    torch.save(
        {"module": tensors, "iteration": 3, "sizes": torch.Size([1, 2]), "type": torch.float16}, tmp_path / "x.pt"
    )
    assert equal(read_all(tmp_path / "x.pt"), tensors)
    assert all(tensor.is_contiguous() for tensor in read_all(tmp_path / "x.pt").values())


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=4))
def test_whatever_is_damaged_is_refused_or_read_right(
    changes: list[tuple[int, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("damaged") / "x.pt"
    torch.save({"module": TENSORS}, path)
    content = bytearray(path.read_bytes())
    for place, byte in changes:
        content[place % len(content)] = byte
    path.write_bytes(content)
    try:
        found = read_all(path)
    except ModelError:
        return
    assert all(torch.equal(found[name], TENSORS[name]) for name in found.keys() & TENSORS.keys())


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=3))
def test_a_malicious_pickle_is_refused_or_harmless(
    changes: list[tuple[int, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The same, with an archive whose checksums are right."""
    folder = tmp_path_factory.mktemp("pickle")
    torch.save({"module": TENSORS}, folder / "good.pt")
    with zipfile.ZipFile(folder / "good.pt") as good, zipfile.ZipFile(folder / "x.pt", "w") as bad:
        for info in good.infolist():
            content = bytearray(good.read(info))
            if info.filename.endswith("data.pkl"):
                for place, byte in changes:
                    content[place % len(content)] = byte
            bad.writestr(info.filename, bytes(content))
    with suppress(ModelError):
        read_all(folder / "x.pt")


class Payload:
    def __init__(self, function: Any, *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.function, self.arguments


@pytest.mark.parametrize(
    ("function", "arguments"),
    [(os.system, ("touch ran",)), (eval, ("1",)), (getattr, ("", "join")), (exec, ("x = 1",)), (__import__, ("os",))],
)
@pytest.mark.parametrize("protocol", [1, 2, 4])
def test_nothing_in_a_file_is_called(
    function: Any, arguments: tuple[Any, ...], protocol: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    content = {"module": {"a": torch.ones(2)}, "more": Payload(function, *arguments)}
    torch.save(content, tmp_path / "x.pt", pickle_protocol=protocol)
    with pytest.raises(ModelError, match=r"x.pt names \w+\.\w+, which is not data but code; nothing of it was run"):
        TorchFile(tmp_path / "x.pt")
    assert not (tmp_path / "ran").exists()


def test_damage_is_found_by_name(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    torch.save({"module": {"a": torch.ones(100), "b": torch.ones(50) * 2, "part": torch.ones(9)[2:5]}}, path)
    content = bytearray(path.read_bytes())
    place = content.index(torch.full((50,), 2.0).numpy().tobytes())
    content[place + 20] ^= 4
    path.write_bytes(content)
    source = TorchFile(path)
    assert list(source.damage()) == ["b"]
    assert source.read("a").sum() == 100
    with pytest.raises(ModelError, match="the bytes of b are not those saved"):
        source.read("b")
