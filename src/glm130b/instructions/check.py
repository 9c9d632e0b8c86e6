"""What is wrong with a recipe's templates and data, found on some records of each prompt."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from glm130b.config import FewShotConfig, MipConfig
from glm130b.errors import ConfigError, DataError, GLMError
from glm130b.instructions.examples import WINDOW, Made, Maker
from glm130b.instructions.prompts import Prompt, RenderError, load_prompts, template_folders
from glm130b.instructions.render import Renderer
from glm130b.instructions.seen import check_not_evaluated
from glm130b.instructions.sources import Source, dataset_sources
from glm130b.tokenization import Tokenizer


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong (``error``), or that somebody should look at (``warning``)."""

    level: Literal["error", "warning"]
    dataset: str
    prompt: str
    message: str


def check_recipe(config: MipConfig, records: int = 50) -> Iterator[Finding]:
    """Look at every prompt of every dataset with some of its records; without datasets, at all templates alone.

    Args:
        records: how many records of each prompt, the first that a build would take.

    Raises:
        ConfigError: there is nothing to check.
        DataError: the tokenizer or the folder of templates is missing.
    """
    if not config.active_datasets:
        if config.templates is None:
            raise ConfigError("The recipe names neither datasets nor templates.", "Add `datasets` or `templates`.")
        yield from check_templates(Path(config.templates))
        return
    try:
        check_not_evaluated(config)
    except ConfigError as error:
        yield Finding("error", "", "", str(error))
    plain = config.model_copy(update={"few_shot": FewShotConfig()})
    tokenizer, renderer = Tokenizer.load(config.tokenizer), Renderer()
    for name, dataset in config.active_datasets.items():
        with TemporaryDirectory(prefix="glm-mip-") as folder:
            try:
                sources = dataset_sources(plain, name, dataset, Path(folder))
            except GLMError as error:
                yield Finding("error", name, "", str(error))
                continue
            for source in sources:
                yield from _twice(name, source.prompts)
                maker = Maker(plain, source, tokenizer, renderer)
                for number in range(len(source.prompts)):
                    yield from _check_prompt(source, number, maker, renderer, records)
                maker.close()


def check_templates(root: Path) -> Iterator[Finding]:
    """Parse and compile every template below a folder.

    Raises:
        DataError: it holds none.
    """
    renderer = Renderer()
    for folder in template_folders(root):
        try:
            prompts = load_prompts(root, folder)
        except DataError as error:
            yield Finding("error", folder, "", str(error))
            continue
        yield from _twice(folder, tuple(prompts))
        for prompt in prompts:
            try:
                renderer.compile(prompt)
            except RenderError as error:
                yield Finding("error", folder, prompt.name, str(error))


def _twice(name: str, prompts: tuple[Prompt, ...]) -> Iterator[Finding]:
    for prompt, count in Counter(prompt.name for prompt in prompts).items():
        if count > 1:
            yield Finding("warning", name, prompt, f"{count} prompts have this name")


def _check_prompt(source: Source, number: int, maker: Maker, renderer: Renderer, records: int) -> Iterator[Finding]:
    prompt = source.prompts[number]

    def found(level: Literal["error", "warning"], message: str) -> Finding:
        return Finding(level, source.dataset, prompt.name, message)

    try:
        names = renderer.names(prompt)
    except RenderError as error:
        yield found("error", str(error))
        return
    if not source.planned(number):
        yield found("warning", "the cap leaves it no record")
        return
    made = [maker.make(number, rank) for rank in range(min(records, source.planned(number)))]
    fields = set().union(*(maker.context(one.record) for one in made))
    failed = [one for one in made if one.outcome == "failed"]
    applied = [one for one in made if one.outcome in ("written", "too long")]
    missing = ", ".join(sorted(names - fields))
    if missing:
        message = f"no record looked at has {missing}; records have {', '.join(sorted(fields))}"
        yield found("warning" if applied else "error", message)
    if failed and not (missing and not applied):
        level: Literal["error", "warning"] = "warning" if applied else "error"
        sample = f"record {failed[0].record}: {failed[0].reason}"
        yield found(level, f"{len(failed)} of {len(made)} records fail ({sample})")
    if not applied and not failed:
        yield found("warning", f"applies to none of {len(made)} records")
    for message, part in _oddities(prompt, applied).items():
        if part:
            yield found("warning", f"{message} in {len(part)} of {len(applied)} (record {part[0].record})")


def _oddities(prompt: Prompt, made: list[Made]) -> dict[str, list[Made]]:
    texts = Counter(_text(one) for one in made)
    return {
        "the same input and target as another record's": [one for one in made if texts[_text(one)] > 1],
        "the target is none of answer_choices": [
            one for one in made if one.rendered and one.rendered.choices and _text(one)[1] not in one.rendered.choices
        ],
        "the input holds the target although it should not list the choices": [
            one for one in made if prompt.choices_in_prompt is False and _text(one)[1] in _text(one)[0]
        ],
        f"input and target have more than {WINDOW - 2} tokens": [one for one in made if one.is_long],
    }


def _text(made: Made) -> tuple[str, str]:
    return (made.rendered.input, made.rendered.target) if made.rendered else ("", "")
