"""The harness's ``generation_kwargs`` to ``Decode``, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from glm130b.errors import ConfigError
from glm130b.evaluation.task import Decode

MAX_NEW_TOKENS = 256
"""The harness's own default."""

_LENGTHS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
_BEST = {
    "num_beams": "beams",
    "length_penalty": "length_penalty",
    "length_penalty_base": "length_penalty_base",
    "no_repeat_ngram_size": "no_repeat_ngram",
    "filter": "filter",
}
_DRAWN = {"temperature": "temperature", "top_p": "top_p"}
_KNOWN = ("until", *_LENGTHS, "do_sample", *_DRAWN, "seed", *_BEST)


def decode_of(options: Mapping[str, Any], seed: int = 0) -> tuple[Decode, bool]:
    """How to write, and whether to draw rather than to take the best answer.

    As in the harness, a temperature above 0 means drawing unless ``do_sample`` says otherwise. Beside its own keys
    those of Hugging Face for beams are known, and ``length_penalty_base`` and ``filter`` of ``Decode``.

    Args:
        seed: of draws, unless the options name one.

    Raises:
        ConfigError: a key that is not known, which would be ignored otherwise; or a value that cannot be.
    """
    unknown = [key for key in options if key not in _KNOWN]
    if unknown:
        raise ConfigError(f"generation_kwargs holds {unknown[0]!r}.", f"Known are {', '.join(_KNOWN)}.")
    try:
        temperature = float(options.get("temperature", 1.0 if options.get("do_sample") else 0.0))
        draws = bool(options.get("do_sample", True)) and temperature > 0
        until = options.get("until") or ()
        facts: dict[str, Any] = {
            "max_new_tokens": next((options[key] for key in _LENGTHS if key in options), MAX_NEW_TOKENS),
            "stop": tuple(text for text in ([until] if isinstance(until, str) else until) if text),
            "seed": options.get("seed", seed),
        }
        names = _DRAWN if draws else _BEST
        return Decode(**facts, **{names[key]: options[key] for key in names if key in options}), draws
    except (ValidationError, TypeError, ValueError) as error:
        reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise ConfigError(f"generation_kwargs {dict(options)} cannot be: {reason}.", "Mend the task.") from None


def options_of(decode: Decode) -> dict[str, Any]:
    """What ``decode_of`` makes the same best answer of."""
    default = Decode()
    options = {"until": list(decode.stop), "max_gen_toks": decode.max_new_tokens, "do_sample": False}
    beams = {key: getattr(decode, name) for key, name in _BEST.items()}
    return options | {key: value for key, value in beams.items() if value != getattr(default, _BEST[key])}
