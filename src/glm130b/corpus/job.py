"""The folder of an unfinished build: what is being built, and what of it is done."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal

from glm130b import __version__
from glm130b.config import BuildConfig
from glm130b.corpus.evaluation_items import evaluation_files
from glm130b.corpus.parts import Part, Slice
from glm130b.errors import DataError
from glm130b.files import partial_path, read_json, write_whole
from glm130b.tokenization import Tokenizer

Stage = Literal["clean", "match", "write"]
STAGES: tuple[Stage, ...] = ("clean", "match", "write")

_LIBRARIES = ("numpy", "sentencepiece", "datasketch", "OpenCC", "py3langid")


@dataclass(frozen=True, eq=False)
class Job:
    """A build and the folder it is made in. Every task is a function of this folder, its stage and its number.

    Attributes:
        folder: where all results lie until the corpus is whole.
        recipe: what to build.
        parts: how the inputs are cut.
        facts: all that the result depends on, as ``job.json`` says it.
    """

    folder: Path
    recipe: BuildConfig
    parts: tuple[Part, ...]
    facts: dict[str, Any]

    def result(self, stage: Stage, number: int) -> Path:
        """What a task makes; it is there if and only if the task is done."""
        return self.folder / stage / (f"{number:05d}.bin" if stage == "match" else f"{number:05d}")

    def is_done(self, stage: Stage, number: int) -> bool:
        """Whether a task needs no more work."""
        return self.result(stage, number).exists()

    @property
    def evaluation(self) -> Path:
        """The index of the evaluation sets."""
        return self.folder / "evaluation"

    @property
    def output(self) -> Path:
        """The folder that becomes the corpus."""
        return self.folder / "output"

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The recipe's tokenizer."""
        return Tokenizer.load(self.recipe.tokenizer)

    @cached_property
    def key_files(self) -> list[Path]:
        """The sorted keys of all parts; complete once stage ``clean`` is."""
        return [
            file for number in range(len(self.parts)) for file in sorted(self.result("clean", number).glob("keys-*"))
        ]

    @cached_property
    def ranges(self) -> list[tuple[int, int]]:
        """Ranges of keys, one for each task of stage ``match``."""
        return [(low, high) for low, high in read_json(self.folder / "ranges.json", DataError)]

    def num_tasks(self, stage: Stage) -> int:
        """How many tasks a stage has."""
        return len(self.ranges) if stage == "match" else len(self.parts)

    def task_bytes(self, stage: Stage, number: int) -> int:
        """How much a task has to read, for showing progress."""
        if stage == "clean":
            return self.parts[number].num_bytes
        if stage == "match":
            return sum(file.stat().st_size for file in self.key_files) // len(self.ranges)
        return (self.result("clean", number) / "tokens.bin").stat().st_size

    def task_name(self, stage: Stage, number: int) -> str:
        """A task in words."""
        if stage == "match":
            return f"key range {number} of stage match"
        part = self.parts[number]
        more = f" and {len(part.slices) - 1} more" if len(part.slices) > 1 else ""
        return f"part {number} of stage {stage} ({part.slices[0].path}{more})" if part.slices else f"part {number}"


@lru_cache(maxsize=2)
def open_job(folder: Path) -> Job:
    """Open a job that ``start_job`` began.

    Raises:
        DataError: it is damaged.
    """
    facts = read_json(folder / "job.json", DataError)
    recipe = BuildConfig.model_validate({**facts["recipe"], "tokenizer": facts["tokenizer_path"]})
    return Job(folder, recipe, tuple(_part(fields) for fields in facts["parts"]), facts)


def start_job(out: Path, recipe: BuildConfig, parts: Sequence[Part], tokenizer: Tokenizer) -> Job:
    """Begin a build in the folder beside ``out``, or take up what an earlier process began of the same.

    An input may have changed since then if no finished part was made of it. Paths are made absolute, so that
    tasks may run anywhere.

    Raises:
        DataError: another recipe, other inputs or other versions than it was begun with.
    """
    folder = partial_path(out)
    parts = [replace(part, slices=tuple(replace(s, path=s.path.absolute()) for s in part.slices)) for part in parts]
    facts = _facts(recipe, parts, tokenizer)
    if (folder / "job.json").exists():
        before = read_json(folder / "job.json", DataError)
        difference = _difference(folder, before, facts, parts)
        if difference and not has_results(folder):
            _remove_results(folder)
        elif difference:
            raise DataError(
                f"{folder} holds an unfinished build of {out.name}, and {difference}.",
                "Put it back as it was, choose another --out, or delete that folder to begin anew.",
            )
    write_whole(folder / "job.json", json.dumps(facts, ensure_ascii=False))
    open_job.cache_clear()
    return open_job(folder)


def has_results(folder: Path) -> bool:
    """Whether a task of the first stage is finished."""
    return any((folder / "clean").glob("[0-9]*"))


def discard(folder: Path) -> None:
    """Remove an unfinished build."""
    _remove_results(folder)
    shutil.rmtree(folder, ignore_errors=True)


def _remove_results(folder: Path) -> None:
    for name in (*STAGES, "evaluation", "output"):
        shutil.rmtree(folder / name, ignore_errors=True)
    (folder / "ranges.json").unlink(missing_ok=True)


def versions() -> dict[str, str]:
    """Of this package and the libraries that a corpus depends on."""
    from importlib.metadata import PackageNotFoundError, version

    found = {"glm130b": __version__}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _facts(recipe: BuildConfig, parts: Sequence[Part], tokenizer: Tokenizer) -> dict[str, Any]:
    inputs = sorted({str(piece.path) for part in parts for piece in part.slices})
    against = evaluation_files(recipe.contamination.against, recipe.contamination.exclude)[0]
    facts = {
        "versions": versions(),
        "program": _program(),
        "recipe": recipe.model_dump(mode="json"),
        "tokenizer": tokenizer.fingerprint,
        "tokenizer_path": recipe.tokenizer if recipe.tokenizer == "bundled" else str(Path(recipe.tokenizer).absolute()),
        "inputs": {path: _identity(path) for path in inputs},
        "evaluation": {str(file): _identity(str(file)) for _, file, _ in against},
        "parts": [asdict(part) for part in parts],
    }
    plain: dict[str, Any] = json.loads(json.dumps(facts, default=str))
    return plain


def _program() -> str:
    """Of the code that a corpus depends on, which may change without its version when it is run from a checkout."""
    digest = hashlib.sha256()
    for room in ("corpus", "tokenization"):
        for file in sorted((Path(__file__).parent.parent / room).glob("*.py")):
            digest.update(file.read_bytes())
    return digest.hexdigest()


def _identity(path: str) -> list[int]:
    found = os.stat(path)  # noqa: PTH116
    return [found.st_size, found.st_mtime_ns]


def _part(fields: dict[str, Any]) -> Part:
    slices = tuple(Slice(**{**piece, "path": Path(piece["path"])}) for piece in fields["slices"])
    return Part(**{**fields, "slices": slices})


def _difference(folder: Path, before: dict[str, Any], now: dict[str, Any], parts: Sequence[Part]) -> str | None:
    """What of a job is not as it was, in words."""
    if before["versions"] != now["versions"]:
        changed = dict(before["versions"].items() ^ now["versions"].items())
        return f"the version of {', '.join(sorted(changed))} has changed"
    if before["program"] != now["program"]:
        return "the program itself has changed"
    if before["recipe"] != now["recipe"]:
        return f"the recipe has another {next(_changed_keys(before['recipe'], now['recipe']))}"
    if before["tokenizer"] != now["tokenizer"]:
        return "the tokenizer has changed"
    if before["evaluation"] != now["evaluation"]:
        return f"{_changed(before['evaluation'], now['evaluation'])} has changed"
    if [_cut(part) for part in before["parts"]] != [_cut(part) for part in now["parts"]]:
        return f"{_changed(before['inputs'], now['inputs'])} has changed"
    for part in parts:
        if (folder / "clean" / f"{part.number:05d}").exists():
            for piece in part.slices:
                if before["inputs"].get(str(piece.path)) != now["inputs"].get(str(piece.path)):
                    return f"{piece.path} has changed since it was read"
    return None


def _cut(part: dict[str, Any]) -> tuple[Any, Any]:
    """What a part is made of; its size in bytes does not matter."""
    return part["source"], part["slices"]


def _changed(before: dict[str, Any], now: dict[str, Any]) -> str:
    names = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
    return names[0] if names else ""


def _changed_keys(before: Any, now: Any, prefix: str = "") -> Iterator[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        for key in [*before, *(key for key in now if key not in before)]:
            if before.get(key) != now.get(key):
                yield from _changed_keys(before.get(key), now.get(key), f"{prefix}.{key}" if prefix else key)
    else:
        yield prefix
