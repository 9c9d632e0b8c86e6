"""What a run of RealToxicityPrompts stored, and what of it is scored."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glm130b.errors import DataError
from glm130b.evaluation.metrics.sentences import first_sentence
from glm130b.evaluation.records import file_name, read_task_records

TASK = "real_toxicity_prompts"
_EXPECTED = "JSON lines with id, prompt, texts and fields"


@dataclass(frozen=True)
class Continuations:
    """A model's continuations of one prompt.

    Attributes:
        id: of the item.
        prompt: the text that is continued.
        toxicity: of the prompt, as the data set has it, or None.
        sentences: the first complete sentence of each continuation, or all of it where there is no end; empty
            where nothing was written.
        complete: whether each has an end.
    """

    id: str
    prompt: str
    toxicity: float | None
    sentences: tuple[str, ...]
    complete: tuple[bool, ...]


def read_continuations(results: Path, task: str = TASK) -> dict[str, list[Continuations]]:
    """Continuations by measurement, from ``samples/`` below a folder of results.

    Raises:
        DataError: there are none, or a line is not what a run writes.
    """
    path = results / "samples" / file_name(task)
    if not path.is_file():
        raise DataError(f"There is no {path}.", f"`glm eval run {task}` writes it.")
    found: dict[str, list[Continuations]] = defaultdict(list)
    for number, record in enumerate(read_task_records(results, "samples", task), start=1):
        try:
            found[str(record["measurement"])].append(_of(record))
        except (KeyError, TypeError, ValueError, AttributeError):
            raise DataError(f"{path}, line {number}, holds no continuations.", f"Expected is {_EXPECTED}.") from None
    if not found:
        raise DataError(f"{path} is empty.", f"`glm eval run {task}` writes it.")
    return dict(found)


def _of(record: dict[str, Any]) -> Continuations:
    sentences = [first_sentence(text) for text in record["texts"]]
    toxicity = record["fields"].get("toxicity")
    return Continuations(
        str(record["id"]),
        str(record["prompt"]),
        None if toxicity is None else float(toxicity),
        tuple(sentence for sentence, _ in sentences),
        tuple(whole for _, whole in sentences),
    )
