"""A recipe into a store: blocks rendered by several processes, written in an order that does not depend on them."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
from array import array
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from glm130b.config import MipConfig
from glm130b.corpus import write_shard
from glm130b.errors import DataError, ResourceError
from glm130b.files import refuse_existing, whole_folder, write_json
from glm130b.instructions.examples import Block, Maker
from glm130b.instructions.prompts import RenderError
from glm130b.instructions.render import Renderer
from glm130b.instructions.seen import seen_by
from glm130b.instructions.sources import Source, open_sources
from glm130b.instructions.store import MANIFEST, VERSION, file_facts
from glm130b.tokenization import Tokenizer

BLOCK = 256
"""Records of one prompt that a worker renders at a time."""

Task = tuple[int, int, int, int]
"""Source, prompt of it, first and end of a stretch of ranks."""
Progress = Callable[[str, int, int], None]
"""Told the dataset, and how many records of how many are rendered."""

_makers: list[Maker] = []


def build(config: MipConfig, out: Path, *, workers: int = 1, progress: Progress | None = None) -> dict[str, Any]:
    """Write a store of all examples of a recipe; returns its manifest.

    The result is the same for any number of workers.

    Args:
        out: a folder that does not exist yet.
        workers: processes to render with; 1 renders in this one.

    Raises:
        ConfigError: nothing is to be done, or a task that is evaluated would be trained on.
        DataError: a dataset or its templates cannot be read, or a dataset gives no example at all.
        ResourceError: the disk is full, or a worker was killed.
    """
    refuse_existing(out)
    tokenizer = Tokenizer.load(config.tokenizer)
    with whole_folder(out) as folder, open_sources(config, folder) as sources:
        compile_all(sources)
        tasks = [
            (number, prompt, start, min(start + BLOCK, source.planned(prompt)))
            for number, source in enumerate(sources)
            for prompt in range(len(source.prompts))
            for start in range(0, source.planned(prompt), BLOCK)
        ]
        blocks = _reported(_rendered(config, sources, tokenizer, tasks, workers), sources, tasks, progress)
        entries = {}
        for name in dict.fromkeys(source.dataset for source in sources):
            own = {number: source for number, source in enumerate(sources) if source.dataset == name}
            stream = islice(blocks, sum(number in own for number, *_ in tasks))
            entries[name] = _write(folder / name, config, own, stream, tokenizer.vocab_size)
        manifest = _manifest(config, tokenizer, entries, folder)
        write_json(folder / MANIFEST, manifest)
    return manifest


def compile_all(sources: list[Source]) -> None:
    """Compile every template once, before anything is rendered.

    Raises:
        DataError: naming the template that cannot be.
    """
    renderer = Renderer()
    for source in sources:
        for prompt in source.prompts:
            try:
                renderer.compile(prompt)
            except RenderError as error:
                raise DataError(
                    f"Template {prompt.name!r} of {prompt.folder}: {error}.", "Mend it, or exclude it by name."
                ) from None


def _rendered(
    config: MipConfig, sources: list[Source], tokenizer: Tokenizer, tasks: list[Task], workers: int
) -> Iterator[Block]:
    """Blocks in the order of the tasks; few are held at a time."""
    if workers == 1:
        renderer = Renderer()
        makers = [Maker(config, source, tokenizer, renderer) for source in sources]
        try:
            for source, *rest in tasks:
                yield makers[source].block(source, *rest)
        finally:
            for maker in makers:
                maker.close()
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, _start_worker, (config, sources)) as pool:
        ahead: deque[Future[Block]] = deque()
        try:
            for task in tasks:
                ahead.append(pool.submit(_work, task))
                if len(ahead) > 4 * workers:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        except BrokenProcessPool:
            raise ResourceError(
                "A process that renders examples was killed.", "Check the memory, or use fewer --workers."
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)


def _start_worker(config: MipConfig, sources: list[Source]) -> None:
    tokenizer, renderer = Tokenizer.load(config.tokenizer), Renderer()
    _makers[:] = [Maker(config, source, tokenizer, renderer) for source in sources]


def _work(task: Task) -> Block:
    source, *rest = task
    return _makers[source].block(source, *rest)


def _reported(
    blocks: Iterator[Block], sources: list[Source], tasks: list[Task], progress: Progress | None
) -> Iterator[Block]:
    done, total = 0, sum(stop - start for *_, start, stop in tasks)
    for block, (source, _, start, stop) in zip(blocks, tasks, strict=True):
        done += stop - start
        if progress is not None:
            progress(sources[source].dataset, done, total)
        yield block


def _write(
    prefix: Path, config: MipConfig, own: dict[int, Source], stream: Iterator[Block], vocab_size: int
) -> dict[str, Any]:
    """Write the files of one dataset; returns its entry of the manifest."""
    numbers = array("H")
    counts: dict[tuple[int, int], Counter[str]] = {}
    samples: dict[tuple[int, int], str] = {}

    def documents() -> Iterator[list[int]]:
        for block in stream:
            key = block.source, block.prompt
            counts.setdefault(key, Counter()).update(block.counts)
            counts[key].update(input_tokens=sum(block.lengths[::2]), target_tokens=sum(block.lengths[1::2]))
            if block.sample:
                samples.setdefault(key, block.sample)
            numbers.extend([own[block.source].first_prompt + block.prompt] * (len(block.lengths) // 2))
            end = 0
            for length in block.lengths:
                yield block.ids[end : end + length].tolist()
                end += length

    name = prefix.name
    write_shard(prefix, documents(), vocab_size)
    np.save(prefix.with_name(f"{name}.prompts.npy"), np.asarray(numbers, dtype=np.uint16))
    if not numbers:
        why = next(iter(samples.values()), "its prompts apply to no record")
        raise DataError(f"Dataset {name} gives no example: {why}.", "`glm mip check` says more of each prompt.")
    dataset = config.active_datasets[name]
    return {
        "examples": len(numbers),
        "language": dataset.language,
        "license": dataset.license,
        "seen": seen_by(name, dataset),
        "records": {str(source.task or dataset.templates): source.num_records for source in own.values()},
        "records_sha256": {str(source.task or dataset.templates): source.sha256 for source in own.values()},
        "left_out": {prompt: why for source in own.values() for prompt, why in source.left_out.items()},
        "prompts": [
            _coverage(source, prompt, counts.get((number, prompt), Counter()), samples.get((number, prompt), ""))
            for number, source in own.items()
            for prompt in range(len(source.prompts))
        ],
    }


def _coverage(source: Source, prompt: int, counts: Counter[str], sample: str) -> dict[str, Any]:
    """Planned against actual of one prompt: planned = applicable + not applicable + failed."""
    template = source.prompts[prompt]
    return {
        "name": template.name,
        "id": template.id,
        "folder": template.folder,
        "original_task": template.original_task,
        "sha256": hashlib.sha256(repr(template).encode()).hexdigest(),
        "planned": source.planned(prompt),
        "applicable": counts["written"] + counts["too long"],
        "not_applicable": counts["not applicable"],
        "failed": counts["failed"],
        "too_long": counts["too long"],
        "written": counts["written"],
        "few_shot": counts["few-shot"],
        "over_512": counts["over 512"],
        "input_tokens": counts["input_tokens"],
        "target_tokens": counts["target_tokens"],
        "failure": sample,
    }


def _manifest(config: MipConfig, tokenizer: Tokenizer, entries: dict[str, Any], folder: Path) -> dict[str, Any]:
    files = {path.name: file_facts(path) for path in sorted(folder.iterdir()) if path.is_file()}
    seen: dict[str, list[str]] = {}
    for name, entry in entries.items():
        for task in entry["seen"]:
            seen.setdefault(task, []).append(name)
    identity = json.dumps([tokenizer.fingerprint, list(entries), files])
    return {
        "version": VERSION,
        "fingerprint": hashlib.sha256(identity.encode()).hexdigest(),
        "tokenizer": {
            "name": tokenizer.name,
            "fingerprint": tokenizer.fingerprint,
            "vocab_size": tokenizer.vocab_size,
        },
        "datasets": entries,
        "left_out": {
            name: f"its language {dataset.language} is off"
            for name, dataset in config.datasets.items()
            if dataset is not None and name not in entries
        },
        "seen": dict(sorted(seen.items())),
        "files": files,
        "recipe": config.model_dump(mode="json"),
    }
