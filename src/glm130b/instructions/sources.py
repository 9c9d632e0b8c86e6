"""A recipe's datasets with their prompts: what there is to render."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from glm130b.config import MipConfig, MipDataset, Task
from glm130b.errors import ConfigError, DataError
from glm130b.instructions.caps import quotas
from glm130b.instructions.formats import read_fields, read_structure
from glm130b.instructions.prompts import Prompt, load_prompts, own_prompts
from glm130b.instructions.seen import check_not_evaluated
from glm130b.instructions.spool import write_spool
from glm130b.instructions.tasks import VIEWS, View

_MAX_PROMPTS = 65536


@dataclass(frozen=True)
class Source:
    """Records of one dataset, under one folder of templates or one task.

    Attributes:
        prefix: of the spooled records.
        sha256: of the records.
        labels: what the views of each group are offered; empty for PromptSource templates.
        first_prompt: number in the dataset of the first of ``prompts``.
        quotas: most records that each prompt takes.
        left_out: names of prompts not taken, and why.
    """

    dataset: str
    task: Task | None
    prompts: tuple[Prompt, ...]
    first_prompt: int
    quotas: tuple[int, ...]
    prefix: Path
    num_records: int
    sha256: str
    labels: dict[str, list[str]]
    left_out: dict[str, str]

    def planned(self, prompt: int) -> int:
        """Records that a prompt of this source takes, applicable or not."""
        return min(self.num_records, self.quotas[prompt])

    def context(self, record: dict[str, Any]) -> dict[str, Any]:
        """What a template sees of a record."""
        return {**record, "labels": self.labels[record.get("group", "")]} if self.task else record


@contextmanager
def open_sources(config: MipConfig, within: Path | None = None) -> Iterator[list[Source]]:
    """Read every dataset into a temporary folder and pair it with its prompts.

    Args:
        within: where the temporary folder is made; by default where the system has such.

    Raises:
        ConfigError: nothing is to be done, or a task that is evaluated would be trained on.
        DataError: a dataset, its templates or a record cannot be read, or a task finds nothing in it.
    """
    if not config.active_datasets:
        raise ConfigError("The recipe names no dataset of an enabled language.", "Add one below `datasets`.")
    check_not_evaluated(config)
    with TemporaryDirectory(prefix="glm-mip-", dir=within) as folder:
        sources: list[Source] = []
        for name, dataset in config.active_datasets.items():
            sources += dataset_sources(config, name, dataset, Path(folder))
        yield sources


def dataset_sources(config: MipConfig, name: str, dataset: MipDataset, folder: Path) -> list[Source]:
    """Spool one dataset below ``folder``, once for each task.

    Raises:
        DataError: see ``open_sources``.
    """
    chosen = [(task, *choose_prompts(config, name, dataset, task)) for task in dataset.task or (None,)]
    _check_excluded(name, dataset, chosen)
    count = sum(len(prompts) for _, prompts, _ in chosen)
    if not 0 < count <= _MAX_PROMPTS:
        raise DataError(
            f"Dataset {name} has {count} prompts in {dataset.language}, at least 1 and at most {_MAX_PROMPTS} are "
            "possible.",
            "Check its templates, `language` and `exclude`.",
        )
    cap = dataset.cap or config.cap
    shares = quotas(cap, config.cap_scope, count)
    sources: list[Source] = []
    first = 0
    for task, prompts, left_out in chosen:
        prefix = folder / f"{name}-{task or 'fields'}"
        gold: dict[str, set[str]] = {}
        records = read_fields(dataset) if task is None else _views(dataset, task, gold)
        num_records, sha256 = write_spool(prefix, records)
        if not num_records or (task and not any(gold.values())):
            what = "record" if task is None else f"annotation for the task {task}"
            raise DataError(f"Dataset {name} has no {what}.", "Check its path and format.")
        labels = {group: sorted(names) for group, names in gold.items()}
        quota = tuple(shares[first : first + len(prompts)])
        sources.append(Source(name, task, prompts, first, quota, prefix, num_records, sha256, labels, left_out))
        first += len(prompts)
    return sources


def choose_prompts(
    config: MipConfig, name: str, dataset: MipDataset, task: Task | None
) -> tuple[tuple[Prompt, ...], dict[str, str]]:
    """Prompts of the dataset's language that are not excluded, and why the others are left out.

    Raises:
        DataError: the file of templates cannot be read.
    """
    if task is None:
        found = tuple(load_prompts(Path(config.templates or ""), dataset.templates or ""))
    else:
        found = own_prompts(task)
    left_out = {
        prompt.name: "excluded" if prompt.name in dataset.exclude else f"is in {', '.join(prompt.languages)}"
        for prompt in found
        if prompt.name in dataset.exclude or (prompt.languages and dataset.language not in prompt.languages)
    }
    return tuple(prompt for prompt in found if prompt.name not in left_out), left_out


def _check_excluded(name: str, dataset: MipDataset, chosen: list[Any]) -> None:
    known = {prompt for _, _, left_out in chosen for prompt, reason in left_out.items() if reason == "excluded"}
    for prompt in dataset.exclude:
        if prompt not in known:
            raise DataError(
                f"Dataset {name} excludes the prompt {prompt!r}, which it has not.", "`glm mip check` lists them."
            )


def _views(dataset: MipDataset, task: Task, gold: dict[str, set[str]]) -> Iterator[View]:
    """Views of all records, whose labels are gathered in ``gold`` by group."""
    for record in read_structure(dataset):
        for view in VIEWS[task](record):
            gold.setdefault(view.get("group", ""), set()).update(view["gold"])
            yield view
