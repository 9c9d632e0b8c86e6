"""How fast a model answers, as plain text for a person."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from glm130b.config import ModelConfig
from glm130b.planning.inference import Answering, Precision, WeightBytes, answering, cache_bytes
from glm130b.planning.inference_devices import Machine
from glm130b.planning.report import columns
from glm130b.planning.size import parameter_count


def inference_text(
    name: str,
    config: ModelConfig,
    precision: Precision,
    machines: Sequence[tuple[Machine, Precision, int]],
    *,
    context: int,
    batch: int = 1,
) -> str:
    """Weights, keys and values of a model, and what each machine makes of it.

    Args:
        precision: of the weights as they are stored.
        machines: each with the precision in which it holds the weights and the bytes of a key or value.
        context: tokens of each text, its answer included.
        batch: texts answered side by side.
    """
    found = [
        (answering(config, WeightBytes.of(config, held), machine, context=context, batch=batch, width=width), width)
        for machine, held, width in machines
    ]
    facts = _facts(name, config, precision, context, batch)
    return "\n\n".join("\n".join(part) for part in (facts, _table(found, config, batch), _assumptions(found, config)))


def _facts(name: str, config: ModelConfig, precision: Precision, context: int, batch: int) -> Iterator[str]:
    weights, cache = WeightBytes.of(config, precision), cache_bytes(config, 2)
    layers = f"{config.num_layers} layers of {_size(weights.layer)}, the rest {_size(weights.ends)}"
    output = "a matrix of its own" if weights.output else "the embedding"
    whole = f"{_size(batch * context * cache)} for {f'{batch:,} texts' if batch > 1 else 'one text'} of {context:,}"
    rows = [
        ("model", f"{parameter_count(config):,} parameters"),
        ("weights", f"{_size(weights.total)}: {layers}"),
        ("read", f"{_size(weights.read)} for every token; the output layer is {output}"),
        ("cache", f"{_size(cache)} of keys and values a token in 16 bits, {whole}"),
    ]
    yield f"{name}, {precision}"
    yield from columns(rows, left=2)


def _table(found: Sequence[tuple[Answering, int]], config: ModelConfig, batch: int) -> Iterator[str]:
    rows = [["", "has", "weights", "cache", "fits", "tokens/s, at most", "expected", "longest text"]]
    for plan, _ in found:
        reader = plan.machine.reader
        rows.append(
            [
                str(plan.machine),
                _size(reader.memory),
                _size(plan.weights),
                _size(plan.cache),
                _fits(plan, config),
                _speed(plan.tokens_per_second(batch)),
                _speed(plan.tokens_per_second(batch, reader.reached)),
                _longest(plan, config),
            ]
        )
    yield "On each device, or the fullest of several"
    yield from columns(rows)


def _fits(plan: Answering, config: ModelConfig) -> str:
    if plan.works:
        return f"{config.num_layers - plan.streamed} layers" if plan.streamed else "yes"
    return "disk unknown" if plan.machine.reader.link is None else "no"


def _longest(plan: Answering, config: ModelConfig) -> str:
    if plan.longest >= config.max_sequence_length:
        return f"{config.max_sequence_length:,}"
    return f"{plan.longest:,}" if plan.longest else "-"


def _assumptions(found: Sequence[tuple[Answering, int]], config: ModelConfig) -> Iterator[str]:
    readers = list(dict.fromkeys(plan.machine.reader for plan, _ in found))
    yield "Decoding alone, not the reading of the text before it; every step reads all weights once."
    yield "At most: at the whole bandwidth of the memory. Expected: at a share of it. In GB/s, and in brackets that of"
    yield "the host or the disk, from which weights that do not fit are brought in for every token:"
    rows = []
    for reader in readers:
        link = "unknown" if reader.link is None else f"{reader.link / 1e9:,.1f}"
        rows.append((reader.name, f"{reader.bandwidth / 1e9:,.0f} ({link})", f"x {reader.reached}", reader.source))
    yield from columns(rows, left=4)
    if any(plan.streamed for plan, _ in found):
        yield "Where it says layers, so many stay and the others are brought in."
    if any(plan.machine.count > 1 for plan, _ in found):
        yield "Several devices hold some of the layers each and work in turn."
    yield f"No text is longer than {config.max_sequence_length:,} tokens, what the model was made for."


def _speed(tokens: float) -> str:
    if not tokens:
        return "-"
    return f"{tokens:,.0f}" if tokens >= 100 else f"{tokens:,.2g}"


def _size(num_bytes: float) -> str:
    if num_bytes >= 1e9:
        return f"{num_bytes / 1e9:,.1f} GB"
    return f"{num_bytes / 1e6:,.1f} MB" if num_bytes >= 1e6 else f"{num_bytes / 1e3:,.1f} kB"
