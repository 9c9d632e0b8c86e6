"""The folder of an unfinished build: what is being built, and what of it is done."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal

from glm130b.config import BuildConfig
from glm130b.corpus.facts import Facts, check_program, difference_of, facts_of
from glm130b.corpus.parts import Part, Slice
from glm130b.errors import DataError
from glm130b.files import partial_path, read_json, write_whole
from glm130b.tokenization import Tokenizer

Stage = Literal["clean", "match", "write"]
STAGES: tuple[Stage, ...] = ("clean", "match", "write")

_JOB = "job.json"
_DONE = "done.json"
"""What ``job.json`` is called once the folder is being removed."""


@dataclass(frozen=True, eq=False)
class Job:
    """A build and the folder it is made in. Every task is a function of this folder, its stage and its number.

    Attributes:
        folder: where all results lie until the corpus is whole.
        recipe: what to build.
        parts: how the inputs are cut.
        facts: all that the result depends on, as ``job.json`` says it, and ``left_out``, files that are not read.
    """

    folder: Path
    recipe: BuildConfig
    parts: tuple[Part, ...]
    facts: Facts

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
        DataError: it is damaged, or this machine has another program or other versions than it was begun with.
    """
    facts = read_json(folder / _JOB, DataError)
    check_program(facts)
    recipe = BuildConfig.model_validate({**facts["recipe"], "tokenizer": facts["tokenizer_path"]})
    return Job(folder, recipe, tuple(_part(fields) for fields in facts["parts"]), facts)


def start_job(
    out: Path, recipe: BuildConfig, parts: Sequence[Part], tokenizer: Tokenizer, left_out: Sequence[Path] = ()
) -> Job:
    """Begin a build in the folder beside ``out``, or take up what an earlier process began of the same.

    An input may have changed since then if no finished part was made of it. Paths are made absolute, so that
    tasks may run anywhere.

    Args:
        left_out: what the inputs hold that is not read.

    Raises:
        DataError: another recipe, other inputs or other versions than it was begun with.
    """
    folder = partial_path(out)
    if (folder / _DONE).exists():
        _remove_results(folder)
        (folder / _DONE).unlink()
    parts = _absolute(parts)
    facts = facts_of(recipe, parts, tokenizer)
    if (folder / _JOB).exists():
        before = read_json(folder / _JOB, DataError)
        difference = difference_of(before, facts, _finished_parts(folder, parts))
        if difference and not has_results(folder):
            _remove_results(folder)
        elif difference:
            raise DataError(
                f"{folder} holds an unfinished build of {out.name}, and {difference}.",
                "Put it back as it was, choose another --out, or delete that folder to begin anew.",
            )
    facts["left_out"] = sorted({str(path.absolute()) for path in left_out})
    write_whole(folder / _JOB, json.dumps(facts, ensure_ascii=False))
    open_job.cache_clear()
    return open_job(folder)


def has_results(folder: Path) -> bool:
    """Whether a task of the first stage is finished."""
    return any((folder / "clean").glob("[0-9]*"))


def is_published(out: Path, recipe: BuildConfig, parts: Sequence[Part], tokenizer: Tokenizer) -> bool:
    """Whether ``out`` is this very build, whose process was killed before it had put its work away.

    Raises:
        DataError: an input is missing, or what is left of the work is damaged.
    """
    folder = partial_path(out)
    is_done = (folder / _DONE).exists()
    if not is_done and ((folder / "output").exists() or not (folder / "write" / f"{len(parts) - 1:05d}").exists()):
        return False
    parts = _absolute(parts)
    before = read_json(folder / (_DONE if is_done else _JOB), DataError)
    return difference_of(before, facts_of(recipe, parts, tokenizer), parts) is None


def discard(folder: Path) -> None:
    """Remove an unfinished build; killed on the way, it counts as removed."""
    if (folder / _JOB).exists():
        (folder / _JOB).replace(folder / _DONE)
    _remove_results(folder)
    shutil.rmtree(folder, ignore_errors=True)


def _remove_results(folder: Path) -> None:
    for name in (*STAGES, "evaluation", "output", "logs"):
        shutil.rmtree(folder / name, ignore_errors=True)
    (folder / "ranges.json").unlink(missing_ok=True)


def _finished_parts(folder: Path, parts: Sequence[Part]) -> list[Part]:
    return [part for part in parts if (folder / "clean" / f"{part.number:05d}").exists()]


def _absolute(parts: Sequence[Part]) -> list[Part]:
    return [replace(part, slices=tuple(replace(s, path=s.path.absolute()) for s in part.slices)) for part in parts]


def _part(fields: dict[str, Any]) -> Part:
    slices = tuple(Slice(**{**piece, "path": Path(piece["path"])}) for piece in fields["slices"])
    return Part(**{**fields, "slices": slices})
