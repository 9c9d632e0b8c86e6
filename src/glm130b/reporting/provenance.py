"""What a report has to know of a training before it is written, and how to say what is missing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, ValidationError

from glm130b.config import Section
from glm130b.errors import ConfigError
from glm130b.lines import read_yaml_file

UNKNOWN = "unknown"
"""Stands for what nobody knows any more; a report says so, rather than leave it out."""

Unknown = Literal["unknown"]
Share = Annotated[float, Field(ge=0, le=1)]
Hours = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=0)]

_Value = TypeVar("_Value")


class Source(Section):
    """One source of text or of instruction data."""

    name: str
    planned: Share | Unknown | None = Field(default=None, description="its share of the sequences, 0.475 for example")
    consumed: Count | Unknown | None = Field(
        default=None, description="its tokens, or padded positions, that were trained on"
    )
    sha256: str | None = Field(default=None, description="of its files, or a fingerprint")


class Training(Section):
    """How a model was trained. None is missing; the word ``unknown`` says that it cannot be found out."""

    code: str | None = Field(default=None, description="commit, release or hash of the program")
    software: str | None = Field(default=None, description="versions of Python, PyTorch, drivers")
    hardware: str | None = Field(default=None, description="machines, processors, accelerators")
    layout: str | None = Field(default=None, description="how many processes, in which parallel layout")
    precision: str | None = Field(default=None, description="fp16, bf16 or fp32, and what is kept in another one")
    seed: int | str | None = Field(default=None, description="of data order and initial values")
    hours: Hours | Unknown | None = Field(default=None, description="wall time of all attempts")
    tokens: Count | Unknown | None = Field(default=None, description="trained on until this model was saved")
    hyperparameters: dict[str, Any] | Unknown | None = Field(default=None, description="by name")
    data: tuple[Source, ...] | Unknown | None = Field(default=None, description="the mixture, source by source")


class Facts(Section):
    """A file of facts (``--facts``): what results and run do not say."""

    training: Training = Training()


def read_facts(path: Path) -> Training:
    """Read a file of facts.

    Raises:
        ConfigError: it cannot be read, or has a key that is not known.
    """
    tree = read_yaml_file(path)
    try:
        return Facts.model_validate(tree or {}).training
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or "the whole file"
        raise ConfigError(f"{path}: {key}: {first['msg']}.", "See docs/report.md for the keys.") from None


def merged(known: Training, given: Training) -> Training:
    """What is known, and what was given where nothing is known.

    Raises:
        ConfigError: a given value contradicts what the run says.
    """
    values = {name: value for name, value in known if value is not None}
    for name, value in given:
        if value is None:
            continue
        if values.setdefault(name, value) != value:
            raise ConfigError(
                f"training.{name} in the file of facts is not what the run itself says.", "Leave it out of the file."
            )
    return Training.model_validate(values)


def missing(training: Training) -> list[str]:
    """Dotted keys of all that is not there, in the order of the fields."""
    keys = []
    for name, value in training:
        if value is None or value in ("", {}, ()):
            keys.append(f"training.{name}")
        elif name == "data" and isinstance(value, tuple):
            keys += [
                f"training.data.{source.name}.{key}"
                for source in value
                for key, one in source
                if one is None or one == ""
            ]
    return keys


def unknown(training: Training) -> list[str]:
    """Names of what was given as unknown."""
    keys = [name for name, value in training if value == UNKNOWN]
    if isinstance(training.data, tuple):
        keys += [f"{key} of {source.name}" for source in training.data for key, one in source if one == UNKNOWN]
    return keys


def skeleton(training: Training) -> str:
    """A file of facts with a line for everything that is missing, as YAML with comments."""
    lines = ["training:"]
    keys = missing(training)
    for name, field in Training.model_fields.items():
        if not any(key == f"training.{name}" or key.startswith(f"training.{name}.") for key in keys):
            continue
        lines.append(f"  {name}:  # {field.description}")
        if name == "data":
            sources = [source.name for source in training.data or () if isinstance(source, Source)] or ["…"]
            lines += [f"    - {{name: {source}, planned: , consumed: , sha256: }}" for source in sources]
            lines += [f"    # {key}: {one.description}" for key, one in Source.model_fields.items() if one.description]
    return "\n".join(lines)


def known(value: _Value | None) -> _Value | None:
    """A value, or None where it is unknown."""
    return None if value == UNKNOWN else value
