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

pytestmark = pytest.mark.slow

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
@pytest.mark.parametrize("after", [0, 7, 35])
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
    for file in (tmp_path / "source" / "49300").iterdir():
        content = torch.load(file, weights_only=True)
        content["module"]["transformer.final_layernorm.bias"] *= 2
        torch.save(content, file)
    arguments: dict[str, Any] = {"to": "folder", "config": FIXTURE_CONFIG, "max_shard_bytes": SHARD, "bits": 8}
    convert(tmp_path / "source", tmp_path / "out", **arguments)
    ours, before = load_model(tmp_path / "out").final_layernorm.bias, load_model(TP4, config=FIXTURE_CONFIG)
    assert torch.equal(ours, 2 * before.final_layernorm.bias)


def test_what_is_left_when_the_source_turns_out_damaged(tmp_path: Path) -> None:
    """Nothing if nothing was finished; else what was, and the message says where."""
    for name, kept in (("layers.2.mlp.dense_4h_to_h.weight", True), ("word_embeddings.weight", False)):
        source = Path(shutil.copytree(TP4, tmp_path / name))
        file = source / "49300" / "mp_rank_02_model_states.pt"
        content = bytearray(file.read_bytes())
        tensor = torch.load(file, weights_only=True)["module"][f"transformer.{name}"]
        content[content.index(tensor.numpy().tobytes()) + 8] ^= 1
        file.write_bytes(content)
        with pytest.raises(ModelError, match=rf"mp_rank_02.* is damaged: the bytes of transformer.{name}") as caught:
            convert(source, tmp_path / "out", to="folder", config=FIXTURE_CONFIG, max_shard_bytes=SHARD)
        assert partial_path(tmp_path / "out").exists() == kept
        assert ("What was finished is kept in" in caught.value.next_step) == kept
        shutil.copyfile(TP4 / "49300" / file.name, file)
        again: list[int] = []
        arguments: dict[str, Any] = {"config": FIXTURE_CONFIG, "max_shard_bytes": SHARD, "on_bytes": again.append}
        convert(source, tmp_path / f"out-{name}", to="folder", **arguments)
        whole = sum(again)
        again.clear()
        convert(source, tmp_path / "out", to="folder", **arguments)
        assert (sum(again) < whole) == kept
        shutil.rmtree(tmp_path / "out")


def test_two_at_once(tmp_path: Path) -> None:
    def second(_: int) -> None:
        with pytest.raises(ResourceError, match="Another process is writing"):
            run(tmp_path / "out")
        assert (partial_path(tmp_path / "out") / "progress.json").exists()
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
    with pytest.raises(ModelError, match="is quantised already: INT8 by rows with scales for 2 ranks"):
        convert(small, tmp_path / "out", to="folder", bits=4, config=FIXTURE_CONFIG)
    convert(small, tmp_path / "small", to="folder", bits=8, config=FIXTURE_CONFIG)
    with pytest.raises(
        ModelError, match=r"has 2 scales a row, one for each rank it was quantised on; a file of 1 ranks"
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
    config, *checks = verify(tmp_path / "out")
    assert config.path.name == "config.json"
    assert [check.fault for check in (config, *checks)] == [None] * (1 + len(index["shards"]))
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


def test_damaged_shards_are_reported_by_name(tmp_path: Path) -> None:
    """All of them, whatever else is wrong."""
    run(tmp_path / "out")
    files = sorted((tmp_path / "out").glob("*.safetensors"))
    files[1].write_bytes(files[1].read_bytes()[:-1])
    content = bytearray(files[2].read_bytes())
    content[-1] ^= 8
    files[2].write_bytes(content)
    files[3].unlink()
    files[4].write_bytes(b"x" * files[4].stat().st_size)
    faults = {check.path.name: check.fault for check in verify(tmp_path / "out") if check.fault}
    assert faults.keys() == {file.name for file in files[1:5]}
    assert "bytes instead of" in (faults[files[1].name] or "")
    assert "damaged: layers" in (faults[files[2].name] or "")
    assert faults[files[3].name] == "missing"
    assert faults[files[4].name] == f"damaged: {files[4].name}"
    for look in (describe, load_model):
        with pytest.raises(ModelError, match=f"{files[1].name} is truncated or damaged"):
            look(tmp_path / "out")


def edit(file: Path, change: Any) -> None:
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


INDEX = "model.safetensors.index.json"


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("config.json", lambda config: config.update(num_layers=2), "holds layers.2.* which the model does not have"),
        ("config.json", lambda config: config.update(num_layers=4), "lacks layers.3"),
        (
            "config.json",
            lambda config: config.update(vocab_size=56),
            r"word_embeddings.weight is \[512, 64\]",
        ),
        (
            "config.json",
            lambda config: config.update(quantization=None),
            "is of type torch.int8",
        ),
        ("config.json", lambda config: config["quantization"].update(bits=4), "is .* the model wants"),
        ("config.json", lambda config: config["quantization"].update(scale_shards=-1), "does not describe a model"),
        (INDEX, lambda index: index["weight_map"].pop("final_layernorm.bias"), "do not speak of the same"),
        (INDEX, lambda index: index["tensor_sha256"].pop("final_layernorm.bias"), "do not speak of the same"),
        (INDEX, lambda index: index.pop("tensor_sha256"), "do not speak of the same"),
        (INDEX, lambda index: index["shards"].update(other=index["shards"].popitem()[1]), "do not speak of the same"),
        (INDEX, lambda index: index.update(weight_map={}), "do not speak of the same"),
        (INDEX, lambda index: index.update(weight_map=3), "is not an index"),
    ],
)
def test_a_folder_that_contradicts_itself_is_refused(file: str, change: Any, message: str, tmp_path: Path) -> None:
    """By whatever opens it; nothing is made of it."""
    run(tmp_path / "a", bits=8)
    edit(tmp_path / "a" / file, change)
    for look in (describe, load_model, lambda path: convert(path, tmp_path / "b", to="sat")):
        with pytest.raises(ModelError, match=message):
            look(tmp_path / "a")
    assert not (tmp_path / "b").exists()
    if file == "config.json":
        assert [check.path.name for check in verify(tmp_path / "a") if check.fault] == ["config.json"]


@pytest.mark.parametrize("to", ["folder", "sat"])
def test_files_that_cannot_be_read_are_faults(to: Any, tmp_path: Path) -> None:
    run(tmp_path / "a", to)
    files = sorted(file for file in (tmp_path / "a").rglob("*") if file.suffix in (".safetensors", ".pt"))
    files[1].unlink()
    files[1].mkdir()
    faults = {check.path.name: check.fault for check in verify(tmp_path / "a") if check.fault}
    assert faults == {files[1].name: "cannot be read (Is a directory)"}


def test_litter_of_a_killed_process_is_removed(tmp_path: Path) -> None:
    def interrupt(_: int) -> None:
        (partial_path(tmp_path / "a") / ".ice_text.model.123.tmp").touch()
        raise Interrupt

    with pytest.raises(Interrupt):
        run(tmp_path / "a", on_bytes=interrupt)
    run(tmp_path / "a")
    run(tmp_path / "b")
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_a_configuration_file_may_say_that_a_model_is_our_own(tmp_path: Path) -> None:
    sizes = "num_layers: 3, hidden_size: 64, num_heads: 4, ffn_size: 168, vocab_size: 512, max_sequence_length: 256"
    (tmp_path / "own.yaml").write_text(f"extends: tiny\nmodel: {{{sizes}, rope_frequencies: fp32, conventions: own}}\n")
    run(tmp_path / "a", config=str(tmp_path / "own.yaml"))
    found = load_model(tmp_path / "a").config
    assert (found.rope_frequencies, found.conventions) == ("fp32", "own")
    run(tmp_path / "b")
    found = load_model(tmp_path / "b").config
    assert (found.rope_frequencies, found.conventions) == ("fp16", "official")
    notes = convert(tmp_path / "a", tmp_path / "c", to="sat")
    assert any("convert it back with --config" in note for note in notes)
    convert(tmp_path / "c", tmp_path / "d", to="folder", config=str(tmp_path / "a"))
    assert load_model(tmp_path / "d").config == load_model(tmp_path / "a").config


def test_a_wrong_digest_in_the_index_is_a_fault(tmp_path: Path) -> None:
    run(tmp_path / "a")
    edit(tmp_path / "a" / INDEX, lambda index: index["tensor_sha256"].update({"final_layernorm.bias": "0" * 64}))
    assert [check.fault for check in verify(tmp_path / "a") if check.fault] == ["damaged: final_layernorm.bias"]


def test_folders_of_an_earlier_version_have_no_checksums(tmp_path: Path) -> None:
    run(tmp_path / "a")
    for key in ("shards", "tensor_sha256", "config_sha256"):
        edit(tmp_path / "a" / INDEX, lambda index, key=key: index.pop(key))
    load_model(tmp_path / "a")
    assert {check.fault for check in verify(tmp_path / "a")} == {
        None,
        "no SHA-256 recorded: written by an earlier version",
    }


def test_what_only_a_folder_can_say(tmp_path: Path) -> None:
    run(tmp_path / "a")
    edit(tmp_path / "a" / "config.json", lambda config: config.update(rope_base=500.0))
    with pytest.raises(ConfigError, match="the official code knows 1e-05 and 10000 alone"):
        convert(tmp_path / "a", tmp_path / "b", to="sat")
    small = FIXTURES / "checkpoints" / "tp2-int8"
    with pytest.raises(ConfigError, match="is quantised for 2 ranks already"):
        convert(small, tmp_path / "b", to="folder", bits=8, tensor_parallel=4, config=FIXTURE_CONFIG)
    notes = convert(small, tmp_path / "b", to="folder", bits=8, tensor_parallel=2, config=FIXTURE_CONFIG)
    assert notes == ["It has no tokenizer: put its own into it (of official weights, ice_text.model)."]


def test_a_kill_before_the_name_is_given_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(tmp_path / "whole")

    def stop(*_: Any) -> None:
        raise Interrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", stop)
        with pytest.raises(Interrupt):
            run(tmp_path / "out")
    again: list[int] = []
    run(tmp_path / "out", on_bytes=again.append)
    assert again == []
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    (tmp_path / ".partial-odd").mkdir()
    (tmp_path / ".partial-odd" / "progress.json").write_text("[]")
    run(tmp_path / "odd")


def test_descriptions(tmp_path: Path) -> None:
    run(tmp_path / "out", bits=4)
    found = describe(tmp_path / "out")
    assert (found.layout, found.precision) == ("model folder", "INT4 by rows, embedding and norms FP16")
    assert found.num_parameters == 181_552
    assert found.largest == ("word_embeddings.weight", 512 * 64 * 2)
    assert found.num_bytes == sum(file.stat().st_size for file in (tmp_path / "out").glob("*.safetensors"))
    unknown = describe(TP4)
    assert unknown.layout == "official checkpoint, iteration 49300, 4 tensor-parallel ranks"
    assert unknown.num_heads is None
    assert [check.fault for check in verify(TP4)] == [None] * 4
