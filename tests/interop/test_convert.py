"""Conversions that are interrupted, do not fit, or lie about; and folders that are damaged afterwards."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest
import torch
from support import FIXTURE_CONFIG, FIXTURES

from glm130b.errors import ConfigError, DataError, ModelError, ResourceError
from glm130b.files import partial_path
from glm130b.interop import convert, describe, load, load_model, open_model, verify

TP4 = FIXTURES / "checkpoints" / "tp4"
SHARD = 60_000
"""Bytes: the toy model makes seven shards."""


def run(destination: Path, to: Any = "folder", **options: Any) -> None:
    options = {"config": FIXTURE_CONFIG, "max_shard_bytes": SHARD, **options}
    convert(TP4, destination, to=to, **options)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


class Interrupt(BaseException):
    pass


@pytest.mark.parametrize(("to", "options"), [("folder", {}), ("folder", {"bits": 4}), ("sat", {"tensor_parallel": 2})])
@pytest.mark.parametrize("after", [0, 1, 7, 20, 35])
def test_interrupted_conversions_go_on(to: Any, options: dict[str, Any], after: int, tmp_path: Path) -> None:
    run(tmp_path / "whole", to, **options)
    expected = contents(tmp_path / "whole")
    out = tmp_path / "out"
    count = 0
    late = after == 35
    after += 10 * (to == "sat")

    def interrupt(_: int) -> None:
        nonlocal count
        count += 1
        if count > after:
            raise Interrupt

    with pytest.raises(Interrupt):
        run(out, to, on_bytes=interrupt, **options)
    assert not out.exists()
    partial = partial_path(out)
    kept = json.loads((partial / "progress.json").read_text())["parts"]
    before = {name: (partial / name).stat().st_mtime_ns for name in kept}
    with pytest.raises(ModelError, match="is not complete: a conversion or a save was interrupted"):
        describe(out)
    again: list[int] = []
    begun: list[tuple[int, int]] = []
    run(out, to, on_bytes=again.append, on_start=lambda *sizes: begun.append(sizes), **options)
    ((total, finished),) = begun
    assert finished + sum(again) == pytest.approx(total, rel=0.06)
    assert contents(out) == expected
    assert {name: (out / name).stat().st_mtime_ns for name in before} == before
    if late:
        assert before
        assert sum(again) < sum(map(len, expected.values())) * 0.7
    assert not partial.exists()


SCRIPT = """
import os, signal, sys
from pathlib import Path
from glm130b.interop import convert

left = int(sys.argv[5])

def step(_):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)

convert(sys.argv[1], Path(sys.argv[2]), to=sys.argv[3], config=sys.argv[4], max_shard_bytes=60_000, on_bytes=step)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("to", "tensors"), [("folder", 13), ("sat", 60)])
def test_killed_conversions_go_on(to: Any, tensors: int, tmp_path: Path) -> None:
    """Killed after every so many tensors until it is done."""
    run(tmp_path / "whole", to)
    kills = 0
    while not (tmp_path / "out").exists():
        command = [sys.executable, "-c", SCRIPT, str(TP4), str(tmp_path / "out"), to, FIXTURE_CONFIG, str(tensors)]
        code = subprocess.run(command, check=False).returncode
        assert code in (0, -9)
        kills += code != 0
        assert kills < 20
    assert kills
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_another_job_begins_anew(tmp_path: Path) -> None:
    """Other options, or a source that has changed: nothing of the old one is used."""

    def interrupt(_: int) -> None:
        interrupt.count += 1  # type: ignore[attr-defined]
        if interrupt.count > 30:  # type: ignore[attr-defined]
            raise Interrupt

    shutil.copytree(TP4, tmp_path / "source")
    for options in ({}, {"rope_frequencies": "fp32"}, {"bits": 8}):
        interrupt.count = 0  # type: ignore[attr-defined]
        with pytest.raises(Interrupt):
            convert(
                tmp_path / "source",
                tmp_path / "out",
                to="folder",
                config=FIXTURE_CONFIG,
                max_shard_bytes=SHARD,
                on_bytes=interrupt,
                **options,
            )
    (tmp_path / "source" / "49300" / "mp_rank_00_model_states.pt").touch()
    arguments: dict[str, Any] = {"to": "folder", "config": FIXTURE_CONFIG, "max_shard_bytes": SHARD, "bits": 8}
    convert(tmp_path / "source", tmp_path / "out", **arguments)
    run(tmp_path / "expected", bits=8)
    assert contents(tmp_path / "out") == contents(tmp_path / "expected")


def test_two_at_once(tmp_path: Path) -> None:
    def second(_: int) -> None:
        with pytest.raises(ResourceError, match="Another process is writing"):
            run(tmp_path / "out")
        raise Interrupt

    with pytest.raises(Interrupt):
        run(tmp_path / "out", on_bytes=second)


@pytest.mark.parametrize("to", ["folder", "sat"])
def test_the_disk_is_checked_first(to: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**6, 9 * 10**5, 10**5))
    with pytest.raises(ResourceError, match=r"out needs 0\.4 MB for its weights, 0\.1 MB are free"):
        run(tmp_path / "out", to)
    assert list(tmp_path.iterdir()) == []


def test_refusals(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    with pytest.raises(DataError, match="exists already"):
        run(tmp_path / "there")
    with pytest.raises(ConfigError, match="cannot be quantised to 3 bits"):
        run(tmp_path / "out", bits=3)
    with pytest.raises(ConfigError, match="not cut for tensor parallelism"):
        run(tmp_path / "out", tensor_parallel=2)
    with pytest.raises(ConfigError, match="has no place for a tokenizer"):
        run(tmp_path / "out", "sat", rope_frequencies="fp32")
    small = FIXTURES / "checkpoints" / "tp2-int8"
    with pytest.raises(ModelError, match="is quantised to 8 bits already"):
        convert(small, tmp_path / "out", to="folder", bits=4, config=FIXTURE_CONFIG)
    convert(small, tmp_path / "small", to="folder", bits=8, config=FIXTURE_CONFIG)
    with pytest.raises(
        ModelError, match="has 2 scales a row, one for each rank it was quantised on; a file of 1 ranks"
    ):
        convert(tmp_path / "small", tmp_path / "out", to="sat", tensor_parallel=1)
    with pytest.raises(ConfigError, match=r"has a config.json of its own"):
        convert(tmp_path / "small", tmp_path / "out", to="sat", config="130b")
    with pytest.raises(DataError, match="holds no tokenizer"):
        load(tmp_path / "small")
    with pytest.raises(ModelError, match=r"holds neither config.json nor"):
        convert(tmp_path, tmp_path / "out", to="sat")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["small", "there"]


def test_rotary_frequencies_are_recorded_and_switchable(tmp_path: Path) -> None:
    run(tmp_path / "half")
    run(tmp_path / "exact", rope_frequencies="fp32")
    assert load_model(tmp_path / "half").config.rope_frequencies == "fp16"
    assert load_model(tmp_path / "exact").config.rope_frequencies == "fp32"
    assert load_model(TP4, config=FIXTURE_CONFIG).config.rope_frequencies == "fp16"


def test_a_converted_folder_is_the_checkpoint(tmp_path: Path) -> None:
    run(tmp_path / "out")
    ours, theirs = load_model(tmp_path / "out").state_dict(), load_model(TP4, config=FIXTURE_CONFIG).state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_checksums_of_files_and_tensors(tmp_path: Path) -> None:
    run(tmp_path / "out")
    index = json.loads((tmp_path / "out" / "model.safetensors.index.json").read_text())
    assert len(index["shards"]) > 3
    assert {file: facts["size"] for file, facts in index["shards"].items()} == {
        file.name: file.stat().st_size for file in (tmp_path / "out").glob("*.safetensors")
    }
    assert index["tensor_sha256"].keys() == index["weight_map"].keys()
    checks = list(verify(tmp_path / "out"))
    assert [check.fault for check in checks] == [None] * len(index["shards"])
    for check in checks:
        done = subprocess.run(["sha256sum", check.path], capture_output=True, text=True, check=True)
        assert done.stdout.split()[0] == check.sha256 == index["shards"][check.path.name]["sha256"]


def test_a_flipped_bit_is_reported_by_name(tmp_path: Path) -> None:
    run(tmp_path / "out")
    index = json.loads((tmp_path / "out" / "model.safetensors.index.json").read_text())
    name = "layers.1.mlp.dense_4h_to_h.weight"
    file = tmp_path / "out" / index["weight_map"][name]
    (source,) = open_model(tmp_path / "out").ranks
    content = bytearray(file.read_bytes())
    place = content.index(source.read(name).numpy().tobytes())
    content[place + 1000] ^= 2
    file.write_bytes(content)
    faults = {check.path.name: check.fault for check in verify(tmp_path / "out") if check.fault}
    assert faults == {file.name: f"damaged: {name}"}
    (damaged,) = open_model(tmp_path / "out").ranks
    for other in damaged.infos.keys() - {name}:
        damaged.read(other)
    with pytest.raises(ModelError, match=rf"{file.name} is damaged: the bytes of {name} are not those"):
        damaged.read(name)
    with pytest.raises(ModelError, match=f"the bytes of {name}"):
        load_model(tmp_path / "out")
    with pytest.raises(ModelError, match=f"the bytes of {name}"):
        convert(tmp_path / "out", tmp_path / "again", to="sat")
    load_model(tmp_path / "out", verify=False)


def test_a_truncated_shard_is_reported_by_name(tmp_path: Path) -> None:
    run(tmp_path / "out")
    file = sorted((tmp_path / "out").glob("*.safetensors"))[2]
    file.write_bytes(file.read_bytes()[:-1])
    for look in (describe, load_model, lambda path: list(verify(path))):
        with pytest.raises(ModelError, match=f"{file.name} is truncated or damaged"):
            look(tmp_path / "out")


def test_descriptions(tmp_path: Path) -> None:
    run(tmp_path / "out", bits=4)
    found = describe(tmp_path / "out")
    assert (found.layout, found.precision) == ("model folder", "INT4, embedding and norms FP16")
    assert found.num_parameters == 181_552
    assert found.largest == ("word_embeddings.weight", 512 * 64 * 2)
    assert found.num_bytes == sum(file.stat().st_size for file in (tmp_path / "out").glob("*.safetensors"))
    unknown = describe(TP4)
    assert unknown.layout == "official checkpoint, iteration 49300, 4 tensor-parallel ranks"
    assert unknown.num_heads is None
    assert [check.fault for check in verify(TP4)] == [None] * 4
