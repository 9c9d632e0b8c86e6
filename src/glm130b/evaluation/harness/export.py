"""A task as folders of lm-evaluation-harness: YAML, JSON lines, and a file of hooks."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from glm130b import __version__
from glm130b.errors import ConfigError
from glm130b.evaluation.data_files import Loaded, load_items
from glm130b.evaluation.harness.decoding import options_of
from glm130b.evaluation.harness.documents import TASK_FILE, line_of, metric_names
from glm130b.evaluation.items import Question
from glm130b.evaluation.metrics import METRICS
from glm130b.evaluation.plan import Options, plan_of, questions_of
from glm130b.evaluation.questions import Questioner
from glm130b.evaluation.task import Attention, Prompt, Task
from glm130b.files import whole_folder

_OUTPUT_TYPES = {"choice": "multiple_choice", "generate": "generate_until", "lm": "loglikelihood_rolling"}
_ACCURACIES = {"sum": "acc", "char": "acc_norm", "byte": "acc_bytes"}

_DATASET = '''"""The lines beside this file{purpose}."""

import json
from pathlib import Path

from datasets import Dataset, DatasetDict
{imports}
FOLDER = Path(__file__).parent


def dataset(lines, **_):
    """The lines of one file, wherever the folder lies."""
    with (FOLDER / lines).open(encoding="utf-8") as file:
        return DatasetDict({{"test": Dataset.from_list([json.loads(line) for line in file])}})
'''


class _Function(str):
    """Name of a function, which the harness looks up in the file of hooks."""


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


_Dumper.add_representer(_Function, lambda dumper, name: dumper.represent_scalar("!function", f"hooks.{name}"))


def export_task(task: Task, out: Path, *, data: Path | None = None, options: Options | None = None) -> list[str]:
    """Write a task into ``out``, as a folder of its own with one harness task for each measurement.

    The questions are written as they are put to the model, solved examples and all. What the harness measures by
    itself, accuracies and bits per byte, it does without this package; other metrics are this package's.

    Args:
        data: as of ``load_items``.
        options: which wordings, numbers of examples and directions of attention.

    Returns:
        The names of the harness tasks.

    Raises:
        ConfigError: the harness has no such mode or normalisation, or the options do not fit.
        DataError: a file of the data is missing or wrong, or the folder exists already.
    """
    if task.mode not in _OUTPUT_TYPES or task.normalise not in _ACCURACIES:
        what = f"mode {task.mode}" if task.mode not in _OUTPUT_TYPES else f"scores normalised by {task.normalise}"
        raise ConfigError(f"{task.name} cannot be exported: the harness has no {what}.", "Use `glm eval run` for it.")
    options = options or Options()
    plan = list(plan_of(task, options))
    shots = max(number for _, number, _ in plan)
    loaded = load_items(task, data, limit=options.limit, shots=shots, seed=options.seed)
    questioner = Questioner(task, loaded.pool, seed=options.seed)
    folder = f"glm_{_slug(task.name)}"
    names: list[str] = []
    with whole_folder(out / folder) as partial:
        for prompt, number, attention in plan:
            name = _name(folder, prompt, number, attention, names)
            names.append(name)
            questions = list(questions_of(task, questioner, prompt, loaded.items, number))
            lines = [json.dumps(_document(task, question), ensure_ascii=False) for question in questions]
            (partial / f"{name}.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
            tree = _tree(task, folder, name, loaded, prompt, number, attention)
            text = yaml.dump(tree, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
            (partial / f"{name}.yaml").write_text(text, encoding="utf-8")
        (partial / "hooks.py").write_text(_hooks(task), encoding="utf-8")
        (partial / TASK_FILE).write_text(task.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return names


def own_metric(task: Task) -> str | None:
    """The harness's own metric that is all that a task measures, if there is one."""
    if task.aggregate != "micro":
        return None
    if task.mode == "choice" and task.metrics == ("accuracy",):
        return _ACCURACIES[task.normalise]
    return "bits_per_byte" if task.mode == "lm" and task.metrics == ("bits_per_byte",) else None


def _name(folder: str, prompt: Prompt, shots: int, attention: Attention, taken: Sequence[str]) -> str:
    parts = [folder]
    if prompt.id:
        parts += [_slug(prompt.id), f"{shots}shot"]
    name = "_".join(part for part in (*parts, "unidirectional" if attention == "unidirectional" else "") if part)
    return f"{name}_{len(taken)}" if name in taken else name


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")


def _document(task: Task, question: Question) -> dict[str, Any]:
    """One line: what is asked, what is right, and the whole question for the hooks."""
    found: dict[str, Any] = {"id": question.item.id}
    if task.mode == "lm":
        found["text"] = question.item.fields["text"]
    else:
        found["text"] = question.text
    if task.mode == "choice":
        found |= {"options": list(question.options), "labels": list(question.item.labels)}
    if task.mode == "generate":
        found["references"] = list(question.item.references)
    if own_metric(task) is None:
        found["question"] = line_of(question)
    return found


def _tree(
    task: Task, tag: str, name: str, loaded: Loaded, prompt: Prompt, shots: int, attention: Attention
) -> dict[str, Any]:
    targets = {
        "choice": {"doc_to_text": "text", "doc_to_choice": "options", "doc_to_target": "labels"},
        "generate": {"doc_to_text": "text", "doc_to_target": "references"},
        "lm": {"doc_to_text": "", "doc_to_target": "text"},
    }[task.mode]
    tree: dict[str, Any] = {
        "task": name,
        "tag": [tag],
        "custom_dataset": _Function("dataset"),
        "dataset_kwargs": {"lines": f"{name}.jsonl"},
        "test_split": "test",
        "output_type": _OUTPUT_TYPES[task.mode],
        **targets,
        "target_delimiter": "",
        "num_fewshot": 0,
    }
    if task.mode == "generate":
        tree["generation_kwargs"] = options_of(task.decode)
    return (
        tree
        | _measured(task)
        | {"metadata": {"version": 1.0, "glm130b": _facts(task, loaded, prompt, shots, attention)}}
    )


def _measured(task: Task) -> dict[str, Any]:
    own = own_metric(task)
    if own is not None:
        better, kind = own != "bits_per_byte", "bits_per_byte" if own == "bits_per_byte" else "mean"
        return {"metric_list": [{"metric": own, "aggregation": kind, "higher_is_better": better}]}
    metrics = [
        {"metric": name, "aggregation": _Function(name), "higher_is_better": METRICS[metric].better != "lower"}
        for name, (metric, _) in metric_names(task).items()
    ]
    return {"process_results": _Function("process_results"), "metric_list": metrics}


def _facts(task: Task, loaded: Loaded, prompt: Prompt, shots: int, attention: Attention) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "task": task.name,
        "title": task.title,
        "prompt": prompt.id,
        "wording": prompt.jinja,
        "wording_from": prompt.provenance,
        "shots": shots,
        "mask": task.mask,
        "attention": attention,
    }
    if task.mode == "lm":
        facts |= {"window": task.window, "scored": task.scored}
    return facts | {
        "split": task.data.split,
        "items": len(loaded.items),
        "items_in_files": loaded.available,
        "files": [file.model_dump() for file in loaded.files],
        "licence": task.data.licence,
        "source": task.data.source,
        "seen_in_mip": task.seen_in_mip,
        "exported_by": f"glm130b {__version__}",
    }


def _hooks(task: Task) -> str:
    if own_metric(task) is not None:
        return _DATASET.format(purpose="", imports="")
    text = _DATASET.format(
        purpose=", and scores by the metrics of the package glm130b",
        imports="\nfrom glm130b.evaluation.harness.hooks import Scorer\n",
    )
    lines = [f'{name} = _scorer.aggregation("{name}")' for name in metric_names(task)]
    return "\n".join([text, "", "_scorer = Scorer(FOLDER)", "process_results = _scorer.process_results", *lines, ""])
