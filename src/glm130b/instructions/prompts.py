"""Prompt templates: PromptSource's ``templates.yaml``, read without running anything a file names."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from glm130b.errors import DataError

FILE = "templates.yaml"
OWN = Path(__file__).resolve().parent.parent / "data" / "mip"
"""The templates of the structured tasks, one folder a task."""

_AGAIN = "Copy the file again, or mend it."


class RenderError(Exception):
    """A template cannot be compiled, or not be rendered for a record; the message says why."""


@dataclass(frozen=True)
class Prompt:
    """One template.

    Attributes:
        folder: the dataset as the templates name it, with the subset if there is one; or the task.
        id: unique in its file; seeds are derived from it.
        jinja: input and target, divided by ``|||``.
        answer_choices: a template of options divided by ``|||``, or None for free text.
        original_task: whether the dataset was made for this.
        choices_in_prompt: whether the input lists the options; None if the file does not say.
        languages: of the prompt; empty if the file does not say.
    """

    folder: str
    id: str
    name: str
    jinja: str
    answer_choices: str | None
    original_task: bool | None
    choices_in_prompt: bool | None
    languages: tuple[str, ...]
    metrics: tuple[str, ...]


class _Loader(yaml.SafeLoader):
    """Plain YAML and the two tags of PromptSource, which become mappings; a key given twice is a fault."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key, _ in node.value:
            if key.value in seen if isinstance(key.value, str) else True:
                problem = f"the key {key.value!r} stands twice" if isinstance(key.value, str) else "a key is no word"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _mapping(loader: yaml.SafeLoader, node: yaml.Node) -> dict[Any, Any]:
    if not isinstance(node, yaml.MappingNode):
        raise yaml.constructor.ConstructorError(None, None, f"{node.tag} is not a mapping", node.start_mark)
    return loader.construct_mapping(node, deep=True)


for _tag in ("!Template", "!TemplateMetadata"):
    _Loader.add_constructor(_tag, _mapping)


def load_prompts(root: Path, folder: str) -> list[Prompt]:
    """The templates of ``root/folder/templates.yaml``, in the order of the file.

    Raises:
        DataError: no such file, not such YAML, or a template without name or text.
    """
    path = root / folder / FILE
    if Path(folder).is_absolute() or ".." in Path(folder).parts:
        raise DataError(f"{folder!r} is not a folder below the templates.", "Name it as it lies there, such as piqa.")
    try:
        tree = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except OSError as error:
        raise DataError(
            f"{path} cannot be read: {error.strerror}.", "`templates` names a folder below the recipe's templates."
        ) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark is not None else ""
        reason = getattr(error, "problem", None) or type(error).__name__
        raise DataError(f"{path} is not a file of templates: {where}{reason}.", _AGAIN) from None
    templates = tree.get("templates") if isinstance(tree, dict) else None
    if not isinstance(templates, dict):
        raise DataError(f"{path} has no mapping of templates.", _AGAIN)
    return [_prompt(path, folder, str(key), value) for key, value in templates.items()]


def template_folders(root: Path) -> list[str]:
    """Every folder below ``root`` that has templates, sorted.

    Raises:
        DataError: there is none.
    """
    folders = sorted(str(path.parent.relative_to(root)) for path in root.rglob(FILE))
    if not folders:
        raise DataError(f"{root} holds no {FILE}.", "Give the folder `templates` of a PromptSource checkout.")
    return folders


@cache
def own_prompts(task: str) -> tuple[Prompt, ...]:
    """The templates that come with the package for a structured task."""
    return tuple(load_prompts(OWN, task))


def _prompt(path: Path, folder: str, key: str, value: Any) -> Prompt:
    fields = value if isinstance(value, dict) else {}
    meta = fields.get("metadata") or {}
    choices = fields.get("answer_choices")
    if not (isinstance(fields.get("jinja"), str) and fields.get("name")) or not isinstance(meta, dict):
        raise DataError(f"{path}: the template {key} lacks its name or its text (jinja).", _AGAIN)
    return Prompt(
        folder=folder,
        id=key,
        name=str(fields["name"]),
        jinja=fields["jinja"],
        answer_choices=str(choices) if isinstance(choices, (str, int, float)) and choices != "" else None,
        original_task=meta.get("original_task"),
        choices_in_prompt=meta.get("choices_in_prompt"),
        languages=_names(meta.get("languages")),
        metrics=_names(meta.get("metrics")),
    )


def _names(value: Any) -> tuple[str, ...]:
    return tuple(name for name in value if isinstance(name, str)) if isinstance(value, list) else ()
