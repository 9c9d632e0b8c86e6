"""What instruction data is made of: the recipe of ``glm mip build``."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from glm130b.config.build import Paths
from glm130b.config.section import NonNegative, Positive, Probability, Section

Language = Literal["en", "zh"]

QuestionFormat = Literal["dream", "piqa", "qasc"]
TableFormat = Literal["json", "jsonl", "csv", "tsv", "parquet"]
StructuredFormat = Literal["conll04", "ade", "genia", "propbank", "fewrel", "snips", "multiwoz", "neutral"]
Format = Literal["auto"] | TableFormat | QuestionFormat | StructuredFormat

Task = Literal[
    "joint",
    "ner",
    "typing",
    "relation",
    "srl",
    "event",
    "event_arguments",
    "dialogue_state",
    "slot_filling",
    "intent",
]
"""Joint entities and relations, named entities, entity typing, relation classification, semantic roles, event
triggers, event arguments, dialogue state, slots of one utterance, its intent."""


def _as_list(raw: object) -> object:
    return (raw,) if isinstance(raw, str) else raw


class MipDataset(Section):
    """One dataset: a PromptSource folder of templates over its records, or tasks of this package over its structure."""

    path: Annotated[Paths, Field(min_length=1)]
    """Files or folders, as the format has them."""
    format: Format = "auto"
    templates: str | None = None
    """Folder below the recipe's ``templates``, with the subset if there is one: ``piqa``, ``super_glue/boolq``."""
    task: Annotated[tuple[Task, ...], BeforeValidator(_as_list)] = ()
    """Instead of ``templates``: one task or several."""
    exclude: tuple[str, ...] = ()
    """Names of prompts that are left out."""
    language: Language = "en"
    cap: Positive | None = None
    """Instead of the recipe's cap."""
    license: str | None = None
    evaluates: tuple[str, ...] = ()
    """Evaluation tasks that training on this spoils, beyond those known by name."""
    classes: dict[str, tuple[str, ...]] = {}
    """Fields that hold a class's name where the templates want its number: the names in order."""
    integers: tuple[str, ...] = ()
    """Fields of a CSV or TSV file that are numbers to the templates."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.templates is None) == (not self.task):
            raise ValueError("give either templates (a PromptSource folder) or task")
        return self


class FewShotConfig(Section):
    """Examples that are preceded by others of the same prompt, answered."""

    share: Probability = 0.0
    max_examples: Positive = 3
    separator: str = "\n\n"


class MipConfig(Section):
    """Multi-task instruction data, from datasets and templates to token ids (GLM-130B, section 2.3)."""

    tokenizer: str = "bundled"
    """A folder or ``.model`` file, or ``bundled``."""
    seed: NonNegative = 1234
    languages: Annotated[tuple[Language, ...], BeforeValidator(_as_list)] = ("en",)
    """Chinese is off unless named: the paper counts on no Chinese instructions when it reports zero-shot."""
    templates: str | None = None
    """Folder of PromptSource templates."""
    datasets: dict[str, MipDataset | None] = {}
    """Datasets by name, which becomes a file name; ``null`` takes an inherited one away."""
    cap: Positive = 500_000
    """Most examples, of a dataset or of each of its prompts."""
    cap_scope: Literal["dataset", "prompt"] = "dataset"
    """``dataset`` divides the cap by the number of prompts, as T0 does (arXiv:2110.08207, appendix)."""
    few_shot: FewShotConfig = FewShotConfig()
    max_input_tokens: Positive | None = None
    """Examples whose input is longer are left out and counted."""
    allow_evaluated: bool = False
    """Take data of tasks that the paper reports without training on them."""

    @property
    def active_datasets(self) -> dict[str, MipDataset]:
        """The datasets that were not taken away with ``null``, of an enabled language."""
        present = {name: dataset for name, dataset in self.datasets.items() if dataset is not None}
        return {name: dataset for name, dataset in present.items() if dataset.language in self.languages}

    @model_validator(mode="after")
    def _named(self) -> Self:
        for name, dataset in self.datasets.items():
            if not re.fullmatch(r"\w[\w-]*", name):
                raise ValueError(f"the dataset name {name!r} has to consist of letters, digits, - and _")
            if dataset is not None and dataset.templates is not None and self.templates is None:
                raise ValueError(f"dataset {name} names templates, but the recipe has no folder of templates")
        return self
