"""What an evaluation keeps of every item: answers and what each adds to the scores, as JSON lines."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

from glm130b.errors import DataError
from glm130b.evaluation.items import Chosen, Compared, Outcome, Predicted, Question, Unit
from glm130b.files import write_whole


def file_name(task: str) -> str:
    """A task's name as the name of a file."""
    return task.replace("/", "__") + ".jsonl"


def sample_record(key: str, outcome: Outcome) -> dict[str, Any]:
    """One answer, as a line of ``samples/<task>.jsonl``."""
    question = outcome.question
    item = question.item
    record: dict[str, Any] = {"measurement": key, "id": item.id, "question": question.digest}
    record |= {"group": item.group} if item.group else {}
    record |= {"labels": list(item.labels)} if item.labels else {}
    record |= {"references": list(item.references)} if item.references else {}
    if isinstance(outcome, Chosen):
        record |= {"choice": outcome.choice, "scores": outcome.scores, "log_probs": outcome.log_probs}
        record |= {"tokens": outcome.lengths, "cut": outcome.cut}
        record |= {"unconditional": outcome.unconditional} if outcome.unconditional else {}
    elif isinstance(outcome, Predicted):
        record |= {"nats": outcome.nats, "tokens": outcome.tokens, "words": outcome.words, "bytes": outcome.bytes}
    elif isinstance(outcome, Compared):
        record |= {"first": sum(outcome.first), "second": sum(outcome.second)}
    else:
        record |= {"prompt": question.text, "texts": outcome.texts, "ended": outcome.ended, "cut": outcome.cut}
        record |= {"fields": {k: v for k, v in item.fields.items() if isinstance(v, (int, float, str, bool))}}
    return record


def prompt_record(key: str, question: Question) -> dict[str, Any]:
    """One rendered text, as a line of ``prompts/<task>.jsonl``."""
    return {
        "measurement": key,
        "id": question.item.id,
        "question": question.digest,
        "text": question.text,
        "options": list(question.options),
    }


def unit_record(key: str, metric: str, unit: Unit) -> dict[str, Any]:
    """What one unit adds to one metric, as a line of ``units/<task>.jsonl``."""
    return {
        "measurement": key,
        "metric": metric,
        "id": unit.id,
        "cluster": unit.cluster,
        "group": unit.group,
        "parts": unit.parts,
    }


def read_units(folder: Path, task: str) -> dict[tuple[str, str], list[Unit]]:
    """Units by measurement and metric, in the order of the file.

    Raises:
        DataError: the file is missing or damaged.
    """
    units: dict[tuple[str, str], list[Unit]] = {}
    for number, line in enumerate(read_task_records(folder, "units", task), start=1):
        try:
            unit = Unit(line["id"], line["cluster"], line["group"], tuple(line["parts"]))
            units.setdefault((line["measurement"], line["metric"]), []).append(unit)
        except (KeyError, TypeError):
            raise _damaged(folder / "units" / file_name(task), number) from None
    return units


def read_task_records(
    folder: Path, kind: Literal["samples", "prompts", "units"], task: str
) -> Iterator[dict[str, Any]]:
    """Lines of one task in a folder of results.

    Raises:
        DataError: the file is missing or damaged.
    """
    return read_records(folder / kind / file_name(task))


def read_records(path: Path) -> Iterator[dict[str, Any]]:
    """Lines of a file of records.

    Raises:
        DataError: it is missing or a line is damaged.
    """
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                try:
                    record = json.loads(line)
                except ValueError:
                    record = None
                if not isinstance(record, dict):
                    raise _damaged(path, number)
                yield record
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.", "Run the evaluation anew.") from None
    except UnicodeDecodeError:
        raise DataError(f"{path} is damaged: it is not UTF-8.", "Run the evaluation anew.") from None


def _damaged(path: Path, number: int) -> DataError:
    return DataError(f"{path}, line {number}, is damaged.", "Run the evaluation anew.")


def write_records(path: Path, records: Iterable[dict[str, Any]]) -> None:
    """Write records, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records))
