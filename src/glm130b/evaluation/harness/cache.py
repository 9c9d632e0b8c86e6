"""The harness's response cache, and whose answers it holds."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

from glm130b.errors import ConfigError

_KEY = "glm130b"
_NEXT = "Name another cache: the harness finds answers by text alone, and would take these for its own."


def claim_cache(answers: MutableMapping[str, Any], settings: dict[str, Any], where: str) -> None:
    """Write into an empty cache who answers, or see that it is the same as in what is there.

    Args:
        answers: by the harness's digests of requests; the settings go under a key that is none.
        settings: all that answers depend on beside the request.
        where: the cache's name.

    Raises:
        ConfigError: it holds answers made otherwise, or nobody knows how; nothing is changed.
    """
    made = answers.get(_KEY)
    if made is None:
        if len(answers):
            raise ConfigError(f"The response cache {where} does not say whose answers it holds.", _NEXT)
        answers[_KEY] = settings
        return
    others = [name for name in settings if made.get(name) != settings[name]]
    if others:
        values = ", ".join(_shown(name, made.get(name), settings[name]) for name in others)
        raise ConfigError(f"The response cache {where} was made with another {values}.", _NEXT)


def _shown(name: str, made: object, asked: object) -> str:
    short = all(len(str(value)) < 20 for value in (made, asked))
    return f"{name} ({made}, not {asked})" if short else name
