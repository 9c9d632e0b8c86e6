"""What a run measures of a task: which wordings, how many examples, which direction of attention."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from glm130b.errors import ConfigError, DataError
from glm130b.evaluation.data_files import load_items
from glm130b.evaluation.items import Item, Question
from glm130b.evaluation.questions import Questioner, digest_of, promptsource
from glm130b.evaluation.task import Attention, Prompt, Task

_WORDLESS = Prompt(id="", jinja="", provenance="paper")


@dataclass(frozen=True)
class Options:
    """What may be chosen for a run.

    Attributes:
        limit: score so many items of each task, drawn evenly.
        shots: instead of the task's own numbers of examples, where there are examples.
        prompts: ids of the wordings to use; empty for all.
        templates: folder ``templates`` of a PromptSource checkout, and the dataset's folder in it; its wordings
            are used instead of the task's own.
        attention: instead of the task's own.
        seed: of the limit and of the examples.
    """

    limit: int | None = None
    shots: tuple[int, ...] | None = None
    prompts: tuple[str, ...] = ()
    templates: tuple[Path, str] | None = None
    attention: tuple[Attention, ...] | None = None
    seed: int = 0


def plan_of(task: Task, options: Options) -> Iterator[tuple[Prompt, int, Attention]]:
    """Wording, number of examples and direction of attention of each measurement, in order.

    Raises:
        ConfigError: an option that the task cannot follow.
    """
    prompts = promptsource(task, *options.templates) if options.templates and task.prompts else task.prompts
    unknown = set(options.prompts) - {prompt.id for prompt in prompts}
    if options.prompts and prompts:
        prompts = tuple(prompt for prompt in prompts if prompt.id in options.prompts)
        if not prompts:
            raise ConfigError(f"{task.name} has no prompt {', '.join(sorted(unknown))}.", "See `glm eval prompts`.")
    shots = task.fewshot.shots
    if options.shots is not None and task.prompts and (task.data.fewshot or options.shots == (0,)):
        shots = options.shots
    attentions = options.attention or task.attention
    if "unidirectional" in attentions and task.mask == "[MASK]":
        raise ConfigError(f"{task.name} asks with [MASK], which has no unidirectional form.", "Leave it out.")
    for attention in dict.fromkeys(attentions):
        for number in dict.fromkeys(shots):
            for prompt in prompts or (_WORDLESS,):
                yield prompt, number, attention


def questions_of(
    task: Task, questioner: Questioner, prompt: Prompt, items: Sequence[Item], shots: int
) -> Iterator[Question]:
    """Items as they are put to a model: in words, or as they are in modes without wordings."""
    return questioner.questions(prompt, items, shots) if task.prompts else _plain(items)


def asked_texts(task: Task, data: Path | None, options: Options, number: int) -> Iterator[tuple[Question, str]]:
    """One item, by its number in the files, in each wording and number of examples; and where the wording is from.

    Raises:
        DataError, ConfigError: as ``load_items``; or there are fewer items.
    """
    plan = list(dict.fromkeys((prompt, shots) for prompt, shots, _ in plan_of(task, options)))
    loaded = load_items(task, data, shots=max(shots for _, shots in plan), seed=options.seed)
    if number >= len(loaded.items):
        raise ConfigError(f"{task.name} has {len(loaded.items)} items.", "Number them from 0.")
    questioner = Questioner(task, loaded.pool, seed=options.seed)
    for prompt, shots in plan:
        for question in questions_of(task, questioner, prompt, [loaded.items[number]], shots):
            yield question, prompt.provenance if task.prompts else "as it is"


def _plain(items: Sequence[Item]) -> Iterator[Question]:
    for item in items:
        if "text" in item.fields:
            text = str(item.fields["text"])
        elif "first" in item.fields and "second" in item.fields:
            text = f"{item.fields['first']}\n{item.fields['second']}"
        else:
            raise DataError(f"Item {item.id} has neither a text nor two sentences.", "Choose another reader or mode.")
        yield Question(item, "", 0, text, (), digest_of(text, ()))
