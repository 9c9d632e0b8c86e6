"""Examples as a person reads them, from a store or straight from a recipe."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from glm130b.config import MipConfig
from glm130b.errors import DataError
from glm130b.instructions.examples import Maker
from glm130b.instructions.render import Renderer
from glm130b.instructions.sources import Source, open_sources
from glm130b.instructions.store import InstructionStore
from glm130b.tokenization import Tokenizer


def show_store(
    store: InstructionStore, dataset: str | None, prompt: str | None, start: int, count: int
) -> Iterator[str]:
    """Examples ``start`` and on of a dataset (default: of all) and a prompt (default: any).

    Raises:
        DataError: no such dataset, prompt or example, or the tokenizer is not there.
    """
    tokenizer = Tokenizer.load(store.manifest["recipe"]["tokenizer"])
    store.check_tokenizer(tokenizer)
    shown = 0
    for name in [dataset] if dataset else store.dataset_names:
        first = store.examples_of(name).start
        names = [entry["name"] for entry in store.manifest["datasets"][name]["prompts"]]
        wanted = [number for number, other in enumerate(names) if prompt in (None, other)]
        for place in np.flatnonzero(np.isin(store.prompts_of(name), wanted)):
            if start <= shown < start + count:
                example = store.example(first + int(place))
                title = f"example {first + int(place)}: {name}, {names[example.prompt]}"
                given, target = tokenizer.decode(example.input), tokenizer.decode(example.target)
                yield _page(title, given, target, len(example.input), len(example.target))
            shown += 1
            if shown == start + count:
                return
    if shown <= start:
        raise DataError(f"{store.folder} has {shown} such examples.", "Choose another dataset, prompt or --at.")


def show_recipe(config: MipConfig, dataset: str | None, prompt: str | None, start: int, count: int) -> Iterator[str]:
    """The records that a build takes as ``start``-th and on for each prompt, or why it leaves them out.

    Args:
        dataset: default the first.
        prompt: default all of the dataset.

    Raises:
        ConfigError: nothing is to be done.
        DataError: no such dataset or prompt, or data cannot be read.
    """
    known = list(config.active_datasets)
    name = dataset or (known[0] if known else "")
    if known and name not in known:
        raise DataError(f"The recipe has no dataset {name}.", f"It has {', '.join(known)}.")
    only = config.model_copy(update={"datasets": {key: config.datasets[key] for key in known if key == name}})
    tokenizer, renderer = Tokenizer.load(config.tokenizer), Renderer()
    with open_sources(only) as sources:
        chosen = [
            (source, number)
            for source in sources
            for number, template in enumerate(source.prompts)
            if prompt in (None, template.name)
        ]
        if not chosen:
            names = [template.name for source in sources for template in source.prompts]
            raise DataError(f"Dataset {name} has no prompt {prompt!r}.", f"It has {', '.join(names)}.")
        for source, number in chosen:
            yield from _of_prompt(Maker(only, source, tokenizer, renderer), source, number, start, count)


def _of_prompt(maker: Maker, source: Source, number: int, start: int, count: int) -> Iterator[str]:
    for rank in range(start, min(start + count, source.planned(number))):
        made = maker.make(number, rank)
        title = f"{source.dataset}, {source.prompts[number].name}, record {made.record}"
        if made.rendered is None:
            yield f"{title}: {made.outcome}{': ' if made.reason else ''}{made.reason}"
        else:
            title += "" if made.outcome == "written" else f" ({made.outcome})"
            yield _page(title, made.rendered.input, made.rendered.target, len(made.input), len(made.target))
    maker.close()


def _page(title: str, given: str, target: str, given_tokens: int, target_tokens: int) -> str:
    def indented(text: str) -> str:
        return "\n".join(f"    {line}".rstrip() for line in text.split("\n"))

    return (
        f"{title}\n  input, {given_tokens} tokens:\n{indented(given)}\n"
        f"  target, {target_tokens} tokens:\n{indented(target)}"
    )
