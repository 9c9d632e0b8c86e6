"""The plan of a run as plain text for a person."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict

from glm130b.config import ParallelConfig, RunConfig
from glm130b.planning.activations import sequences_at_once
from glm130b.planning.balance import StageShape
from glm130b.planning.estimate import DEVICES, UTILISATION, Device, Step, peak_memory, step_seconds
from glm130b.planning.memory import Memory, rank_parameters, stages_of
from glm130b.planning.remedy import memory_remedy
from glm130b.planning.size import parameter_count

_HOUR = 3600


def plan_text(config: RunConfig, steps: Mapping[int, int], *, gpu: bool, devices: Sequence[Device] = DEVICES) -> str:
    """Layout, memory and time of a run.

    Args:
        steps: how many steps of each batch size there are, from the first size to the last.
        gpu: whether memory is that of GPUs, or of CPUs.
        devices: kinds of GPU to estimate time for; FP32 is not, whose products they do at other rates.
    """
    parts = [list(_facts(config, steps)), list(_memory(config, gpu=gpu))]
    if gpu and config.train.precision != "fp32":
        parts.append(list(_time(config, steps, devices)))
    return "\n\n".join("\n".join(part) for part in parts)


def ranks_text(parallel: ParallelConfig) -> str:
    """How ranks are laid out, in words."""
    ranks = parallel.pipeline * parallel.data * parallel.tensor
    if ranks == 1:
        return "one rank"
    return f"{ranks:,} ranks: pipeline {parallel.pipeline} x data {parallel.data} x tensor {parallel.tensor}"


def columns(rows: Sequence[Sequence[str]], *, left: int = 1) -> Iterator[str]:
    """Aligned lines; the first ``left`` cells of each to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            f"{cell:<{width}}" if n < left else f"{cell:>{width}}"
            for n, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield ("  " + "  ".join(cells)).rstrip()


def _facts(config: RunConfig, steps: Mapping[int, int]) -> Iterator[str]:
    parallel, size = config.parallel, sequences_at_once(config)
    ends = [Step.of(config, batch) for batch in dict.fromkeys((next(iter(steps)), max(steps)))]
    full = ends[-1]
    samples = sum(batch * number for batch, number in steps.items())
    where = f" on each of {parallel.data} data-parallel ranks" if parallel.data > 1 else ""
    rows = [
        ("model", f"{parameter_count(config.model):,} parameters"),
        ("data", f"{samples:,} sequences of {config.data.seq_length:,} tokens in {sum(steps.values()):,} steps"),
        ("layout", ranks_text(parallel)),
        ("", _techniques(config)),
        ("batch", f"{_range(f'{step.batch_size:,}' for step in ends)} sequences"),
        ("micro-batches", f"{_range(f'{step.num_micro_batches:,}' for step in ends)} of {size}{where}"),
    ]
    if any(step.padding for step in ends):
        rows.append(("padding", f"{_range(f'{step.padding:.1%}' for step in ends)} of the sequences run are empty"))
    if parallel.pipeline > 1:
        shares = ", ".join(f"{step.bubble:.2%} of a step of {step.batch_size:,}" for step in ends)
        rows.append(("bubble", f"{shares}, by the formula"))
    where = f"in a step of {full.batch_size:,} if every token saw every other and were predicted"
    rows.append(("FLOPs", f"{full.model_flops:.3e} {where}"))
    if full.hardware_flops > full.model_flops:
        again = 1 - full.model_flops / full.hardware_flops
        rows.append(("", f"{full.hardware_flops:.3e} with recomputation, which is {again:.1%} of them"))
    yield config.name
    yield from columns([(name, text) for name, text in rows], left=2)


def _techniques(config: RunConfig) -> str:
    parallel, train = config.parallel, config.train
    words = []
    if parallel.pipeline > 1:
        virtual = f" with {parallel.virtual_stages} stages a rank" if parallel.schedule == "interleaved" else ""
        words.append({"1f1b": "1F1B", "interleaved": "interleaved", "zero_bubble": "ZB-V"}[parallel.schedule] + virtual)
    if parallel.data > 1:
        words.append(f"ZeRO stage {parallel.zero_stage}")
    if parallel.sequence and parallel.tensor > 1:
        words.append("sequence parallelism")
    recompute = {"none": "nothing", "selective": "GeGLU", "full": "every layer"}[train.recompute]
    return ", ".join([*words, train.precision.upper(), f"recomputing {recompute}"])


def _memory(config: RunConfig, *, gpu: bool) -> Iterator[str]:
    found = peak_memory(config, gpu=gpu)
    pipeline = config.parallel.pipeline > 1
    kinds = [kind for kind in asdict(found[0]) if pipeline or kind != "buffers"]
    rows = [
        [
            *([f"{rank}"] if pipeline else []),
            _layers(stages_of(config, rank)),
            f"{rank_parameters(config, rank):,}",
            *(_gigabytes(getattr(memory, kind)) for kind in kinds),
            _gigabytes(memory.total),
        ]
        for rank, memory in enumerate(found)
    ]
    headings = [*(["rank"] if pipeline else []), "layers", "parameters", *kinds, "total"]
    who = "each rank of a pipeline" if pipeline else "a rank"
    yield f"Memory of {who} at its fullest, GB of tensors on a {'GPU' if gpu else 'CPU'}"
    yield from columns([headings, *rows], left=2 if pipeline else 1)
    if pipeline:
        yield "  (buffers: what passes between ranks; PyTorch keeps it for all micro-batches of a step)"


def _layers(stages: Sequence[StageShape]) -> str:
    parts = []
    for stage in stages:
        first, last = stage.layers.start, stage.layers.stop - 1
        parts += ["embedding"] * stage.first
        parts.append(f"{first}-{last}" if last > first else f"{first}")
        parts += ["head"] * stage.last
    return ", ".join(parts)


def _time(config: RunConfig, steps: Mapping[int, int], devices: Sequence[Device]) -> Iterator[str]:
    parallel, size = config.parallel, max(steps)
    ranks = parallel.pipeline * parallel.data * parallel.tensor
    full = Step.of(config, size)
    rows = [["", "memory", "fits", "a full step", "tokens/s each", "HFU", "MFU", "whole run"]]
    for device in devices:
        seconds = step_seconds(config, size, device.flops)
        whole = sum(number * step_seconds(config, batch, device.flops) for batch, number in steps.items())
        rows.append(
            [
                device.name,
                f"{_gigabytes(device.memory)} GB",
                "yes" if _fullest(config) <= device.memory else "no",
                f"{seconds:,.1f} s",
                f"{size * config.data.seq_length / seconds / ranks:,.0f}",
                f"{full.hardware_flops / seconds / ranks / device.flops:.1%}",
                f"{full.model_flops / seconds / ranks / device.flops:.1%}",
                f"{whole / 24 / _HOUR:,.1f} days" if whole > 48 * _HOUR else f"{whole / _HOUR:,.1f} h",
            ]
        )
    yield f"Time, if the slowest rank computes at {UTILISATION:.0%} of its peak whenever it is busy, and nothing fails"
    yield from columns(rows)
    for device in devices:
        remedy = memory_remedy(config, device.memory, _fullest) if _fullest(config) > device.memory else None
        if remedy is not None:
            yield f"  ({device.name} would do with {remedy[0]}: {_gigabytes(remedy[1])} GB)"


def _fullest(config: RunConfig) -> int:
    found: list[Memory] = peak_memory(config, gpu=True)
    return max(memory.total for memory in found)


def _range(texts: Iterable[str]) -> str:
    first, *rest = dict.fromkeys(texts)
    return f"{first} to {rest[-1]}" if rest else first


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:,.1f}" if size >= 1e9 else f"{size / 1e9:.2f}"
