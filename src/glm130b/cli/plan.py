"""``glm plan``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import typer

from glm130b.cli.options import Group, group_size

if TYPE_CHECKING:
    from glm130b.config import ModelConfig
    from glm130b.model import Bits
    from glm130b.planning import Machine, Precision

_CPU_REACHED = 0.9
"""Of the bandwidth of a CPU's memory; docs/performance.md has what was measured."""


def plan(
    model: str = typer.Argument(metavar="MODEL", help="A preset, a YAML file, a model folder or a run."),
    inference: bool = typer.Option(False, "--inference", help="Plan answering, not training."),
    bits: int = typer.Option(None, metavar="BITS", help="As if the weights were quantised: 8 or 4."),
    group: Group = typer.Option(None, help="With --bits: columns that share a scale; default a whole row."),
    memory: str = typer.Option(None, metavar="SIZE", help="Of this machine's memory to use, 8GB for example."),
    device: list[str] = typer.Option(
        [], metavar="NAME", help="cpu, or GPUs such as '4x RTX 3090'; may be repeated; default the paper's and cpu."
    ),
    context: int = typer.Option(None, min=1, metavar="N", help="Tokens of a text and its answer; default the most."),
    batch: int = typer.Option(1, min=1, metavar="N", help="Texts answered side by side."),
) -> None:
    """Say what a model takes before it is there.

    With --inference: does it fit, how fast would it answer, how long may texts be. Without: what `glm train CONFIG
    --dry-run` says of a training.
    """
    from glm130b.errors import ConfigError

    if not inference:
        if bits or group or memory or device or context or batch > 1:
            raise ConfigError("These options are for plans of answering.", "Add --inference.")
        _training(model)
        return
    from glm130b.planning import PAPER_MACHINES, inference_text, parse_machine

    found, stored, files = _read(model, bits, group)
    if memory and device and "cpu" not in device:
        raise ConfigError("--memory is of this machine, and --device names others.", "Leave one of them out.")
    machines: list[tuple[Machine, Precision, int]] = []
    for name in device or ("cpu", *PAPER_MACHINES):
        if name == "cpu":
            machines.append((_this_cpu(files, memory), _on_cpu(stored), 4))
        else:
            machines.append((parse_machine(name), stored, 2))
    context = context or found.max_sequence_length
    typer.echo(inference_text(Path(model).name, found, stored, machines, context=context, batch=batch))


def _training(config: str) -> None:
    from glm130b.config import load_config
    from glm130b.launch import quiet_torch

    with quiet_torch():
        from glm130b.training import preflight_report

    typer.echo(preflight_report(load_config(config).run))


def _read(model: str, bits: int | None, group: Group | None) -> tuple[ModelConfig, Precision, list[Path]]:
    """The model's configuration, the precision planned for, and its files of weights."""
    from glm130b.config import load_config, preset_names
    from glm130b.errors import ConfigError
    from glm130b.interop import open_model
    from glm130b.planning import Precision

    if bits not in (None, 8, 4):
        raise ConfigError(f"Weights cannot be quantised to {bits} bits.", "Use 8 or 4.")
    if group and not bits:
        raise ConfigError("--group is for quantised weights.", "Add --bits 4 or --bits 8.")
    size = group_size(group)
    asked = Precision(cast("Bits | None", bits), None if size == "row" else size)
    if model in preset_names() or model.endswith((".yaml", ".yml")):
        return _divides(load_config(model).run.model, asked), asked, []
    opened = open_model(model, verify=False)
    stored = next(info.dtype.itemsize for name, info in opened.ranks[0].infos.items() if name.startswith("word_embed"))
    if bits is None and opened.scheme is not None:
        scheme = opened.scheme
        asked = Precision(scheme.bits, scheme.group_size, scheme.scale_shards, scheme.output_bits)
    return _divides(opened.config, asked), replace(asked, float_bytes=stored), list(opened.files)


def _divides(config: ModelConfig, precision: Precision) -> ModelConfig:
    from glm130b.errors import ConfigError
    from glm130b.planning import WeightBytes

    try:
        WeightBytes.of(config, precision)
    except ValueError as error:
        raise ConfigError(f"It cannot be quantised so: {error}.", "Choose a smaller --group, or row.") from None
    return config


def _on_cpu(stored: Precision) -> Precision:
    """What is not quantised is computed in FP32 there; the embedding of a quantised model stays as it is stored."""
    return stored if stored.bits else replace(stored, float_bytes=4)


def _this_cpu(files: list[Path], memory: str | None) -> Machine:
    from glm130b.files import parse_size
    from glm130b.offload import available_memory, disk_bandwidth, memory_bandwidth
    from glm130b.planning import Machine, Reader

    limit = parse_size(memory) if memory else available_memory() or 0
    link = disk_bandwidth(files[0]) if files else None
    source = "measured just now" + ("" if files else "; give a model folder to have the disk measured")
    return Machine(Reader("this CPU", limit, 0.0, memory_bandwidth(), link, _CPU_REACHED, source))
