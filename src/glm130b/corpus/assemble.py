"""The last step of a build: the results of all parts become one folder."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from glm130b.corpus.documents import LEDGER
from glm130b.corpus.job import Job
from glm130b.corpus.ledger import SCHEMA, Tally, contamination_by_task, fingerprint
from glm130b.corpus.page import write_page
from glm130b.corpus.verify import write_checksums
from glm130b.errors import DataError
from glm130b.files import read_json, sha256_of_file, write_json
from glm130b.tokenization import Tokenizer

_JOINED = ("documents.jsonl.gz", "contamination.jsonl")
_HEAD = """\
# Training on this corpus: put `extends: {path}` into a run's configuration.
# Each language gets one half of the samples; within a language sources are weighted by their tokens.
"""
_NOTHING = "# No document was kept to train on, so no source here has a weight: ledger.html says why.\n"


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
        "inputs_left_out": job.facts["left_out"],
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
    write_checksums(job.output)
    return ledger


def _move(source: Path, target: Path) -> None:
    if source.exists():
        target.parent.mkdir(exist_ok=True)
        source.replace(target)
    elif not target.exists():
        raise DataError(f"{source} is missing.", "Delete the unfinished folder it lay in, and build again.")


def _join(parts: Iterable[Path], path: Path) -> dict[str, Any]:
    """One file after the other; what gzip packed may be joined so too."""
    with path.open("wb") as joined:
        for part in parts:
            with part.open("rb") as file:
                shutil.copyfileobj(file, joined, 1 << 20)
    return {"file": path.name, "bytes": path.stat().st_size, "sha256": sha256_of_file(path)}


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
    head = _HEAD.format(path=out / "sources.yaml") + ("" if of_language else _NOTHING)
    return head + yaml.safe_dump(fragment, allow_unicode=True, sort_keys=False)
