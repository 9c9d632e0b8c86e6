"""What a task is: one YAML file, as validated values."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from glm130b.config import Section

Mask = Literal["[MASK]", "[gMASK]"]
Attention = Literal["bidirectional", "unidirectional"]
Mode = Literal["choice", "generate", "lm", "pair", "sample"]
Normalise = Literal["sum", "token", "char", "byte", "pmi"]
Positive = Annotated[int, Field(gt=0)]
Pattern = Annotated[str, Field(pattern=r"^[^/?]")]
"""Of files below a folder; those that match need not be there if it ends in ``?``."""


class Data(Section):
    """Where a task's items come from.

    Attributes:
        reader: name of a reader (``readers.READERS``), which knows the file format.
        files: patterns below the data folder, in the official layout; all files that match are read.
        fewshot: patterns of the files that solved examples are drawn from; empty if there are none.
        options: passed to the reader by name.
        split: the split that is scored.
        expects: items of the complete set, as published.
        bundled: the files lie in the package.
        language: of the items.
        licence: of the data.
        source: where a user gets the files.
    """

    reader: str
    files: tuple[Pattern, ...] = Field(min_length=1)
    fewshot: tuple[Pattern, ...] = ()
    options: dict[str, Any] = Field(default_factory=dict)
    split: str
    expects: Positive | None = None
    bundled: bool = False
    language: Literal["en", "zh"]
    licence: str
    source: str


class Prompt(Section):
    """One wording, in the form of PromptSource.

    Attributes:
        id: name, unique in its task.
        jinja: the text put to the model, ``|||``, and the right answer, as Jinja over an item's fields. The text
            may hold one ``[MASK]``; without it the blank comes at the end.
        answer_choices: options divided by ``|||``, as Jinja, in the order of the labels.
        example: a solved example, as Jinja, where filling the answer into the text is not it.
        provenance: where the wording is from: the paper, the authors' repository, PromptSource, or ours.
    """

    id: str
    jinja: str
    answer_choices: str | None = None
    example: str | None = None
    provenance: Literal["paper", "repo", "promptsource", "official", "ours"] = "ours"


class FewShot(Section):
    """Solved examples before a question.

    Attributes:
        shots: how many are shown by default; each number is a measurement of its own.
        sampler: ``first`` takes the first of the item's group, ``random`` draws them anew for each item.
        same_group: only from the item's own group.
        separator: between the examples, and before the question.
        preamble: text before the first example, as Jinja over the item's fields.
    """

    shots: tuple[Annotated[int, Field(ge=0)], ...] = (0,)
    sampler: Literal["first", "random"] = "random"
    same_group: bool = False
    separator: str = "\n\n"
    preamble: str = ""


class Decode(Section):
    """How text is written.

    Attributes:
        max_new_tokens: the most tokens of an answer.
        beams: more than 1 searches, see ``inference.BeamSearch``.
        stop: texts at the first of which an answer is cut.
        top_p, temperature, samples, seed: of mode ``sample``, which draws ``samples`` answers to each item.
        filter: ``lambada`` is the authors' search for one word.
    """

    max_new_tokens: Positive = 128
    beams: Positive = 1
    length_penalty: float = 1.0
    length_penalty_base: Literal["output", "total"] = "output"
    no_repeat_ngram: Annotated[int, Field(ge=0)] = 0
    stop: tuple[str, ...] = ()
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    temperature: Annotated[float, Field(gt=0)] = 1.0
    samples: Positive = 1
    seed: int = 0
    filter: Literal["none", "lambada"] = "none"


class Published(Section):
    """A score somebody published, and what it needs to be comparable.

    Attributes:
        metric: the task's metric it is to be set beside.
        value: in the metric's own scale: a share, not a percentage.
        protocol: what differs from this task's protocol, or empty if nothing does.
    """

    system: str
    metric: str
    value: float
    source: str
    shots: int = 0
    attention: Attention = "bidirectional"
    precision: str = ""
    prompts: str = ""
    protocol: str = ""


class Task(Section):
    """One benchmark as it is run; see ``docs/evaluation.md`` for every field."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9.+-]+(_[a-z0-9.+-]+)*(/[a-z0-9.+-]+(_[a-z0-9.+-]+)*)*$")]
    title: str
    description: str
    data: Data
    mode: Mode
    prompts: tuple[Prompt, ...] = ()
    mask: Mask
    attention: tuple[Attention, ...] = ("bidirectional",)
    normalise: Normalise = "sum"
    pmi_context: str = ""
    fewshot: FewShot = FewShot()
    decode: Decode = Decode()
    window: Positive | None = None
    scored: Positive | None = None
    metrics: tuple[str, ...] = Field(min_length=1)
    aggregate: Literal["micro", "macro", "both"] = "micro"
    prompts_report: Literal["max", "median", "mean", "all"] = "median"
    over_length: Literal["cut_left", "refuse"] = "cut_left"
    seen_in_mip: Literal["none", "label_space", "dataset"] = "none"
    family: str
    published: tuple[Published, ...] = ()
    provenance: Literal["paper", "repo", "ours"]
    notes: str = ""

    @model_validator(mode="after")
    def _fits(self) -> Task:
        names = [prompt.id for prompt in self.prompts]
        if len(set(names)) < len(names):
            raise ValueError(f"two prompts have the same id among {', '.join(names)}")
        if self.mode in ("choice", "generate", "sample") and not self.prompts:
            raise ValueError(f"mode {self.mode} needs at least one prompt")
        if "unidirectional" in self.attention and self.mask == "[MASK]":
            raise ValueError("unidirectional attention needs mask: [gMASK]")
        if self.mode == "lm" and (self.window is None or self.scored is None):
            raise ValueError("mode lm needs window and scored, in tokens")
        if any(score.metric not in self.metrics for score in self.published):
            raise ValueError("published scores name a metric that is not among metrics")
        return self
