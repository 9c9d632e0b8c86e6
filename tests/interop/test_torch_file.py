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

pytestmark = pytest.mark.slow

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


def test_a_whole_module_and_a_shared_storage(tmp_path: Path) -> None:
    """State dicts of modules carry attributes; views are compared with the checksum of all of their storage."""
    state = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.LayerNorm(2)).state_dict()
    torch.save({"module": state}, tmp_path / "x.pt")
    assert equal(read_all(tmp_path / "x.pt"), dict(state))
    parameter = torch.nn.Parameter(torch.ones(3))
    parameter.note = "kept by torch"  # type: ignore[attr-defined]
    base = torch.arange(100.0)
    torch.save({"module": {"a": base[:50], "b": base[50:], "p": parameter}}, tmp_path / "y.pt")
    assert equal(read_all(tmp_path / "y.pt"), {"a": base[:50], "b": base[50:], "p": torch.ones(3)})
    content = bytearray((tmp_path / "y.pt").read_bytes())
    content[content.index(base[10:20].numpy().tobytes())] ^= 1
    (tmp_path / "y.pt").write_bytes(content)
    with pytest.raises(ModelError, match="the bytes of a are not those saved"):
        TorchFile(tmp_path / "y.pt").read("a")


class State:
    """Pickles as an object of another class with state that overwrites what was checked."""

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return (*self.arguments, {"shape": ("a",), "arguments": ()})


@pytest.mark.parametrize(
    "arguments",
    [
        ((2, 2), (1,)),
        ((-1,), (1,)),
        ((2**70,), (1,)),
        ((2**40,), (0,)),
        (("a",), (1,)),
        ((9,), (1,)),
        ((2,), (2**62,)),
        ((1.5,), (1,)),
    ],
)
def test_tensors_that_cannot_be(arguments: tuple[Any, ...], tmp_path: Path) -> None:
    storage = torch.storage.TypedStorage(
        wrap_storage=torch.ones(4).untyped_storage(), dtype=torch.float32, _internal=True
    )
    tensor = State(torch._utils._rebuild_tensor_v2, (storage, 0, *arguments, False, {}))
    torch.save({"module": {"x": tensor}}, tmp_path / "x.pt")
    with pytest.raises(ModelError, match=r"x has no shape|x is larger than its storage"):
        TorchFile(tmp_path / "x.pt")


@pytest.mark.parametrize("flips", range(4))
def test_every_single_bit(flips: int, tmp_path: Path) -> None:
    """A file with one bit changed is refused by name, or read right; a check of all of it tells no less."""
    path = tmp_path / "x.pt"
    torch.save({"module": {"a": torch.arange(6.0), "b": torch.arange(6.0) + 1, "c": torch.ones(3)}}, path)
    good = path.read_bytes()
    expected = read_all(path)
    for place in range(flips, len(good), 29):
        content = bytearray(good)
        content[place] ^= 1 << (place % 8)
        path.write_bytes(content)
        try:
            source = TorchFile(path)
        except ModelError:
            continue
        damaged = list(source.damage())
        try:
            found = {name: source.read(name) for name in source.infos}
        except ModelError:
            assert damaged, place
            continue
        assert found.keys() != expected.keys() or equal(found, expected), place


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
    with pytest.raises(ModelError, match=r"x.pt names \w+\.\w+, which .* may be code; nothing of it was run"):
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
