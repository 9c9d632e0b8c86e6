"""What is refused, or talked about, before a run costs anything."""

from __future__ import annotations

import importlib
import re
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
from ranks import apart, run_ranks
from support import small_config

from glm130b.config import RunConfig, load_config
from glm130b.errors import ConfigError, GLMError, ResourceError
from glm130b.parallel import World
from glm130b.planning import checkpoint_copy, peak_memory, rank_parameters
from glm130b.training import preflight
from glm130b.training.dry_run import preflight_report
from glm130b.training.preflight import check_layout, fits, memory_needed, warnings_of

CPU = torch.device("cpu")
MODULE: Any = importlib.import_module("glm130b.training.preflight")
"""The file, whose name in its room is the function's."""


def test_a_sound_run_passes(tmp_path: Path) -> None:
    assert preflight(small_config().run, tmp_path / "run", CPU) == []
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("overrides", "problem", "next_step"),
    [
        (["parallel.tensor=3"], "parallel.tensor 3 does not divide model.num_heads 2", "Choose a divisor"),
        (["parallel.tensor=2", "model.ffn_size=47"], "parallel.tensor 2 does not divide model.ffn_size 47", "divisor"),
        (
            ["parallel={tensor: 2, sequence: true}", "data.seq_length=63", "objective.windows_per_sequence=1"],
            "parallel.tensor 2 does not divide data.seq_length 63",
            "Choose a divisor",
        ),
        (["parallel.pipeline=3"], "2 layers cannot be cut into 3 pipeline stages", "Lower parallel.pipeline"),
        (
            ["parallel={pipeline: 2, schedule: interleaved}"],
            "2 layers cannot be cut into 4 pipeline stages",
            "Lower parallel.pipeline",
        ),
        (
            ["parallel.data=5"],
            "parallel.data 5 exceeds the 4 sequences of the largest batch",
            "Raise train.batch.end to 5 or more, or lower parallel.data.",
        ),
        (
            ["model.num_layers=4", "parallel={pipeline: 2, schedule: zero_bubble}", "train={compile: 'on'}"],
            "zero_bubble parts the backward pass in two",
            "Set train.compile to 'off'",
        ),
    ],
)
def test_a_layout_that_cannot_be_is_refused_by_name(overrides: list[str], problem: str, next_step: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        check_layout(small_config(*overrides).run)
    assert problem in refusal.value.problem
    assert next_step in refusal.value.next_step


def test_instructions_of_which_there_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"data\.instructions names no instruction data"):
        preflight(small_config("objective.instruction_share=5%").run, tmp_path, CPU)


def test_too_little_memory_is_refused_with_what_would_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = small_config().run
    needed = memory_needed(config, [0], gpu=False)
    size = r"\d+\.\d MB"

    def there(share: float) -> None:
        monkeypatch.setattr(MODULE, "device_memory", lambda _: int(share * needed))

    there(1.2)
    assert preflight(config, tmp_path, CPU) == []
    there(1.05)
    (warning,) = preflight(config, tmp_path, CPU)
    assert re.fullmatch(rf"At its fullest a step needs {size} on a rank; the main memory of \S+ has {size}\.", warning)
    there(0.8)
    with pytest.raises(
        ResourceError, match=rf"step needs {size} on a rank; .* Set train\.micro_batch_size=1: {size}\."
    ):
        preflight(small_config("train.batch={end: 64}", "train.micro_batch_size=32").run, tmp_path, CPU)
    there(0.01)
    with pytest.raises(ResourceError, match="Divide the model among more ranks"):
        preflight(config, tmp_path, CPU)


def test_ranks_of_one_machine_share_its_memory() -> None:
    config = small_config("model.num_layers=4", "parallel={pipeline: 2, data: 2}").run
    first, second = (
        memory.total + checkpoint_copy(config, rank) for rank, memory in enumerate(peak_memory(config, gpu=False))
    )
    assert memory_needed(config, range(4), gpu=False) == 2 * first + 2 * second
    assert checkpoint_copy(config, 0) == 12 * rank_parameters(config, 0, shards=2)
    assert memory_needed(config, range(4), gpu=True) == max(memory.total for memory in peak_memory(config, gpu=True))


def test_a_layout_fits_gpus_or_not(monkeypatch: pytest.MonkeyPatch) -> None:
    config = load_config("130b", ["parallel.sequence=false"]).run
    monkeypatch.setattr(MODULE, "device_memory", lambda _: 42_300_000_000)
    does = fits(config, torch.device("cuda"))
    assert not does(config.parallel)
    assert does(config.parallel.model_copy(update={"sequence": True}))
    assert fits(config, CPU)(config.parallel)


def test_a_full_disk_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _place: type("Usage", (), {"free": 1_000_000}))
    with pytest.raises(ResourceError, match=r"needs \d+\.\d MB for 3 checkpoints, 1\.0 MB are free\. Lower"):
        preflight(small_config().run, tmp_path, CPU)


def test_waste_is_talked_about() -> None:
    config = small_config("model.num_layers=4", "parallel={pipeline: 2, data: 2, zero_stage: 2}").run
    padding, zero = warnings_of(config, gpu=True)
    assert padding.startswith("A step of 4 sequences is 67% padding: 2 micro-batches of 3 on each of 2")
    assert zero.startswith("With a pipeline, ZeRO stage 2 saves no more than stage 1")
    assert warnings_of(small_config("train.precision=fp16").run, gpu=False) == [
        "FP16 is very slow on CPUs; bf16 and fp32 are not."
    ]


def on_ranks(config: RunConfig, run: Path, fault: str) -> tuple[type[GLMError] | None, str]:
    """One rank of two, of which the second is not as it should be."""
    world = World.current()
    if world.rank == 1:
        socket.gethostname = lambda: "host-b"  # type: ignore[assignment]
        if fault == "code":
            MODULE.code_hash = lambda: "0123456789abcdef"
        if fault == "torch":
            MODULE.torch.__version__ = "1.0"
        if fault == "config":
            config = config.model_copy(update={"seed": 5})
        if fault == "folder":
            run = run.with_name("elsewhere")
    MODULE._SIGHT_SECONDS = 0.1
    try:
        preflight(config, run, CPU, world)
    except GLMError as error:
        return type(error), error.problem
    return None, ""


@pytest.mark.parametrize(
    ("fault", "problem"),
    [
        ("none", ""),
        ("code", r"host-b \(rank 1\) runs other code of glm130b \(\S+, 0123456789ab\) than \S+ \(\S+, \w{12}\)\."),
        ("torch", r"host-b \(rank 1\) runs PyTorch 1\.0, \S+ \S+\."),
        ("config", r"host-b \(rank 1\) was given another configuration than \S+\."),
        ("folder", r"host-b \(rank 1\) does not see the folder \S+/run of \S+\."),
    ],
)
def test_ranks_that_are_not_alike_are_refused_by_the_name_of_their_host(
    tmp_path: Path, fault: str, problem: str
) -> None:
    run = tmp_path / "run"
    config = small_config("parallel.data=2").run
    for kind, text in run_ranks(2, on_ranks, config, run, fault):
        assert kind is (ResourceError if problem else None)
        assert re.fullmatch(problem, text.replace("elsewhere", "run")), text
    assert list(run.glob(".*")) == []


@apart
def test_the_page_of_a_dry_run(tmp_path: Path) -> None:
    text = preflight_report(
        small_config("parallel={tensor: 2}", "checkpoint={keep: 3, keep_every: 10}").run, 2, run=tmp_path / "run"
    )
    for heading in ("tiny\n", "Memory of", "Checkpoints\n", "Schedules\n"):
        assert heading in text
    assert "for good  10 more by the end of the run" in text
    assert re.search(r"room +for [\d,]+: [\d.]+ GB free at \S+/run", text)
    assert re.search(r"Placed all [\d,]+ parameters on a pretended mesh of 2 in \d\.\d s", text.splitlines()[-1])


@apart
def test_a_dry_run_of_other_ranks_than_laid_out_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"lays out 2 ranks: .*; 4 were asked for\. Plan for 2, or change parallel"):
        preflight_report(small_config("parallel.tensor=2").run, 4)


@pytest.mark.slow
@apart
def test_the_papers_run_is_planned_without_any_of_its_devices() -> None:
    text = preflight_report(load_config("130b").run, 768)
    assert "128,697,794,560 parameters on a pretended mesh of 768" in text
    assert "batch ramp ends, 4,296 steps" in text
    assert "Note: From sample 0 on, 0.05 of the sequences are to be instructions" in text
