"""What is wrong with a configuration, where, and what was probably meant."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from glm130b.config.schema import RunConfig
from glm130b.config.section import Section

Key = tuple[str, ...]


def explain(error: ValidationError, origins: Mapping[Key, str], kind: type[Section]) -> tuple[str, str]:
    """The first fault as a sentence with its file and line, and what to do; misspelt keys come first."""
    is_run = kind is RunConfig
    fault = min(error.errors(), key=lambda fault: fault["type"] != "extra_forbidden")
    key = tuple(str(part) for part in fault["loc"])
    name, origin = ".".join(key), _origin(key, origins)
    if fault["type"] == "extra_forbidden":
        origin = origin or next(origins[other] for other in origins if other[: len(key)] == key)
        guess = _closest(key, kind)
        listing = "`glm config show tiny` lists every key." if is_run else f"Keys are {', '.join(kind.model_fields)}."
        hint = f"Did you mean {guess}?" if guess else listing
        return f"{origin}: unknown key {name}.", hint
    if fault["type"] == "missing":
        return f"The config lacks {name}.", "Add it, or extend a preset (`extends: tiny`)." if is_run else "Add it."
    value = (
        ""
        if isinstance(fault["input"], dict)
        else f" (it is {json.dumps(fault['input'], ensure_ascii=False, default=str)})"
    )
    where = f"{origin}: " if origin else ""
    message = str(fault["msg"])
    if fault["type"] in ("model_type", "dict_type"):
        message = " must hold settings of its own"
    elif message.startswith("Input should"):
        message = message.replace("Input should", " must", 1)
    else:
        message = (": " if name else "") + message.removeprefix("Value error, ")
    remedy = "`glm config show` prints what each value is and whence." if is_run else "Mend it."
    return f"{where}{name}{message}{value}.", remedy


def _origin(key: Key, origins: Mapping[Key, str]) -> str | None:
    """Where ``key``, or what it is a part of, was written."""
    return next((origins[key[:n]] for n in range(len(key), 0, -1) if key[:n] in origins), None)


def _closest(key: Key, kind: type[Section]) -> str | None:
    """The known key most like ``key``: first among its siblings, then by its last name anywhere."""
    known = list(_known_keys(kind, key))
    siblings = {k[-1]: ".".join(k) for k in known if k[:-1] == key[:-1]}
    match = difflib.get_close_matches(key[-1], siblings, n=1)
    if match:
        return siblings[match[0]]
    anywhere = {k[-1]: ".".join(k) for k in known}
    match = difflib.get_close_matches(key[-1], anywhere, n=1, cutoff=0.75)
    return anywhere[match[0]] if match else None


def _known_keys(model: type[BaseModel], asked: Key, prefix: Key = ()) -> Iterator[Key]:
    """Every key of ``model``; below names that users choose, only those under the name in ``asked``."""
    for name, field in model.model_fields.items():
        key = (*prefix, name)
        yield key
        below = _section_in(field.annotation)
        if below is None:
            continue
        if isinstance(field.annotation, type):
            yield from _known_keys(below, asked, key)
        elif asked[: len(key)] == key and len(asked) > len(key) + 1:
            yield from _known_keys(below, asked, asked[: len(key) + 1])


def _section_in(annotation: Any) -> type[BaseModel] | None:
    """The section an annotation is, or holds by name or in a list."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _section_in(part))), None)
