"""The last step of a build: the results of all parts become one folder."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from glm130b.corpus.job import Job
from glm130b.corpus.ledger import LEDGER, SCHEMA, Tally, contamination_by_task, fingerprint
from glm130b.corpus.page import write_page
from glm130b.corpus.write import sha256
from glm130b.errors import DataError
from glm130b.files import read_json, write_json
from glm130b.tokenization import Tokenizer

_JOINED = ("documents.jsonl.gz", "contamination.jsonl")
_HEAD = """\
# Training on this corpus: put `extends: {path}` into a run's configuration.
# Each language gets one half of the samples; within a language sources are weighted by their tokens.
"""


def assemble(job: Job, out: Path, tokenizer: Tokenizer) -> dict[str, Any]:
    """Move the shards of all parts into ``job.output`` and write everything that is about them as a whole.

    Can be repeated after an interruption at any point.

    Args:
        out: where the folder will lie.

    Returns:
        The ledger.

    Raises:
        DataError: the result of a task is damaged.
        OSError: the disk is full.
    """
    tally = Tally()
    job.output.mkdir(exist_ok=True)
    results = [job.result("write", number) for number in range(len(job.parts))]
    for part, result in zip(job.parts, results, strict=True):
        facts = read_json(result / "facts.json", DataError)
        tally.add(part.source, facts)
        for shard in facts["shards"]:
            _move(result / shard["file"], job.output / shard["file"])
    files = [_join([result / name for result in results], job.output / name) for name in _JOINED]
    ledger = {
        "schema": SCHEMA,
        "fingerprint": fingerprint(tally.shards),
        "recipe": job.facts["recipe"],
        "tokenizer": {
            "name": tokenizer.name,
            "fingerprint": tokenizer.fingerprint,
            "vocab_size": tokenizer.vocab_size,
            "eod": tokenizer.special.eod,
        },
        "versions": job.facts["versions"],
        "inputs": {path: size for path, (size, _) in job.facts["inputs"].items()},
        "inputs_left_out": _left_out(job),
        "total": tally.total(),
        "sources": tally.sources(),
        "samples": tally.samples(),
        "licenses": tally.licenses(),
        "contamination": _contamination(job),
        "shards": tally.shards,
        "files": files,
    }
    write_json(job.output / LEDGER, ledger)
    write_page(ledger, job.output / "ledger.html")
    (job.output / "sources.yaml").write_text(_sources_yaml(job, ledger, out.absolute()), encoding="utf-8")
    return ledger


def _move(source: Path, target: Path) -> None:
    if source.exists():
        target.parent.mkdir(exist_ok=True)
        source.replace(target)


def _join(parts: Iterable[Path], path: Path) -> dict[str, Any]:
    """One file after the other; what gzip packed may be joined so too."""
    with path.open("wb") as joined:
        for part in parts:
            with part.open("rb") as file:
                shutil.copyfileobj(file, joined, 1 << 20)
    return {"file": path.name, "bytes": path.stat().st_size, "sha256": sha256(path)}


def _left_out(job: Job) -> list[str]:
    """Files in the folders of the sources that are of a kind that is not read."""
    read = set(job.facts["inputs"])
    folders = [Path(path) for source in job.recipe.active_sources.values() for path in source.path]
    files = [file for folder in folders if folder.is_dir() for file in sorted(folder.rglob("*")) if file.is_file()]
    return [str(file) for file in files if str(file.absolute()) not in read]


def _contamination(job: Job) -> dict[str, Any]:
    settings = job.recipe.contamination
    found: dict[str, Any] = {"action": settings.action, "min_overlap": settings.min_overlap, "n": settings.n}
    if not settings.against:
        return {**found, "action": "none", "tasks": {}, "files": [], "skipped": []}
    index = read_json(job.evaluation / "index.json", DataError)
    by_task = contamination_by_task(job.output / "contamination.jsonl")
    nothing = {"passages": 0, "documents": 0, "items_found": 0, "acted_on": 0}
    tasks = {task: {**counts, **by_task.get(task, nothing)} for task, counts in sorted(index["tasks"].items())}
    return {**found, "tasks": tasks, "files": index["files"], "skipped": index["skipped"]}


def _sources_yaml(job: Job, ledger: dict[str, Any], out: Path) -> str:
    """A configuration to extend: each language one half, its sources by their tokens; held-out ones weigh nothing."""
    import yaml

    rows = [row for row in ledger["sources"] if row["train"]["tokens"] or row["heldout"]["tokens"]]
    of_language = {row["language"]: 0 for row in rows if row["train"]["tokens"]}
    for row in rows:
        if row["train"]["tokens"]:
            of_language[row["language"]] += row["train"]["tokens"]
    sources = {}
    for row in rows:
        share = row["train"]["tokens"] and row["train"]["tokens"] / of_language[row["language"]] / len(of_language)
        path = str(out / f"{row['source']}.{row['language']}")
        sources[f"{row['source']}-{row['language']}"] = {"path": path, "weight": float(f"{share:.6g}")}
    fragment = {"data": {"tokenizer": job.recipe.tokenizer, "sources": sources}}
    return _HEAD.format(path=out / "sources.yaml") + yaml.safe_dump(fragment, allow_unicode=True, sort_keys=False)
