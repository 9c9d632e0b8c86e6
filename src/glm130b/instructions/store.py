"""A folder of instruction examples, memory-mapped: what ``glm mip build`` writes and training reads."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glm130b.corpus import TokenShard
from glm130b.errors import DataError
from glm130b.files import read_json, sha256_of_file
from glm130b.tokenization import Tokenizer

MANIFEST = "mip.json"
VERSION = 1

_AGAIN = "Copy the folder again, or make it again with `glm mip build`."


@dataclass(frozen=True)
class Example:
    """One prompt and its answer.

    Attributes:
        dataset: its name.
        prompt: number of the prompt in the manifest's list of the dataset.
        input: int64 ids ``[m]``, without any special token.
        target: int64 ids ``[n]``, without any special token; n is at least 1.
    """

    dataset: str
    prompt: int
    input: NDArray[np.int64]
    target: NDArray[np.int64]


class InstructionStore:
    """Examples of all datasets by one running number.

    Attributes:
        manifest: the content of ``mip.json``: recipe, tokenizer, coverage of each prompt, licences, checksums.
        fingerprint: equal if and only if tokenizer, datasets and tokens are.
        dataset_names: in the order of the numbering.
        num_examples: of all datasets.
    """

    def __init__(self, folder: str | Path) -> None:
        """Open a folder.

        Indices are compared with their checksums, other files by their size alone: ``verify``, which is
        ``glm mip check``, reads them too.

        Raises:
            DataError: a file is missing, of another length than the manifest says, or not of this layout; an
                index has changed; an example has no target.
        """
        self.folder = Path(folder)
        self.manifest = read_manifest(self.folder)
        self.fingerprint = str(self.manifest["fingerprint"])
        self.dataset_names: list[str] = list(self.manifest["datasets"])
        for name, facts in self.manifest["files"].items():
            _check_size(self.folder / name, facts["bytes"])
            if name.endswith(".idx"):
                self._check_sum(name)
        self._shards: list[TokenShard] = []
        self._prompts: list[NDArray[np.uint16]] = []
        for name in self.dataset_names:
            self._open(name)
        self._ends = list(accumulate(len(prompts) for prompts in self._prompts))
        self.num_examples = self._ends[-1] if self._ends else 0

    def examples_of(self, name: str) -> range:
        """Numbers of the examples of one dataset.

        Raises:
            DataError: there is no such dataset.
        """
        if name not in self.dataset_names:
            raise DataError(f"{self.folder} has no dataset {name}.", f"It has {', '.join(self.dataset_names)}.")
        place = self.dataset_names.index(name)
        return range(self._ends[place] - len(self._prompts[place]), self._ends[place])

    def prompts_of(self, name: str) -> NDArray[np.uint16]:
        """The prompt's number of each example of one dataset.

        Raises:
            DataError: there is no such dataset.
        """
        self.examples_of(name)
        return self._prompts[self.dataset_names.index(name)]

    def example(self, index: int, /) -> Example:
        """One example, found in logarithmic time of the number of datasets.

        Raises:
            DataError: there is no such number.
        """
        if not 0 <= index < self.num_examples:
            raise DataError(f"{self.folder} has no example {index}.", f"Its examples are 0 to {self.num_examples - 1}.")
        place = bisect_right(self._ends, index)
        inside = index - (self._ends[place] - len(self._prompts[place]))
        given, wanted = (self._shards[place].document(2 * inside + part).astype(np.int64) for part in (0, 1))
        return Example(self.dataset_names[place], int(self._prompts[place][inside]), given, wanted)

    def check_tokenizer(self, tokenizer: Tokenizer) -> None:
        """Refuse a tokenizer whose ids mean something else.

        Raises:
            DataError: it is not the one the store was made with.
        """
        made = self.manifest["tokenizer"]
        if made["fingerprint"] != tokenizer.fingerprint:
            raise DataError(
                f"{self.folder} was made with the tokenizer {made['name']}, not with {tokenizer.name} as it is here.",
                "Make it again with `glm mip build` and this tokenizer, or use the other one.",
            )

    def verify(self) -> None:
        """Compare every file with its checksum, which reads all of them.

        Raises:
            DataError: naming the first that differs.
        """
        for name in self.manifest["files"]:
            self._check_sum(name)

    def _check_sum(self, name: str) -> None:
        if file_facts(self.folder / name) != self.manifest["files"][name]:
            raise DataError(f"{self.folder / name} has changed since it was written.", _AGAIN)

    def _open(self, name: str) -> None:
        count = self.manifest["datasets"][name]["examples"]
        shard = TokenShard(self.folder / name)
        path = self.folder / f"{name}.prompts.npy"
        try:
            prompts = np.load(path, mmap_mode="r")
        except (OSError, ValueError, EOFError):
            raise DataError(f"{path} cannot be read.", _AGAIN) from None
        if prompts.dtype != np.uint16 or prompts.shape != (count,) or len(shard.lengths) != 2 * count:
            raise DataError(f"{path} does not fit {name}.idx and {MANIFEST}.", _AGAIN)
        empty = np.flatnonzero((shard.lengths[1::2] < 1) | (shard.lengths[::2] < 0))
        if len(empty):
            raise DataError(f"{self.folder / name}.idx: example {empty[0]} has no target.", _AGAIN)
        self._shards.append(shard)
        self._prompts.append(prompts)


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a store.

    Raises:
        DataError: missing, malformed, or of another version.
    """
    path = folder / MANIFEST
    manifest = read_json(path, DataError)
    if not (isinstance(manifest, dict) and manifest.get("version") == VERSION):
        raise DataError(f"{path} is not a manifest of version {VERSION}.", _AGAIN)
    missing = {"fingerprint", "tokenizer", "datasets", "seen", "files", "recipe"} - manifest.keys()
    if missing:
        raise DataError(f"{path} lacks {', '.join(sorted(missing))}.", _AGAIN)
    return manifest


def seen_tasks(folder: str | Path) -> dict[str, list[str]]:
    """Evaluation tasks that a store's data make seen, and the datasets that do; for the column ``seen_in_mip``.

    Raises:
        DataError: ``folder`` is not a store.
    """
    return {str(task): list(names) for task, names in read_manifest(Path(folder))["seen"].items()}


def file_facts(path: Path) -> dict[str, Any]:
    """Size and SHA-256 of a file."""
    return {"bytes": path.stat().st_size, "sha256": sha256_of_file(path)}


def _check_size(path: Path, expected: int) -> None:
    try:
        size = path.stat().st_size
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.", _AGAIN) from None
    if size != expected:
        raise DataError(f"{path} has {size} bytes, not the {expected} of {MANIFEST}.", _AGAIN)
