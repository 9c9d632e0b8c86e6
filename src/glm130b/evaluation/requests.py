"""What tells requests apart, and how much reading they are."""

from __future__ import annotations

from typing import Any

from glm130b.evaluation.items import Choose, Predict, Request, Write

BUILDER_VERSION = 1
"""To be raised whenever the same request comes to be put to a model in another way."""


def searches(write: Write) -> bool:
    """Whether the answer is the best of several beams."""
    return write.draw == 0 and (write.decode.beams > 1 or write.decode.filter != "none")


def decoding_of(write: Write) -> dict[str, Any]:
    """What of ``write.decode`` matters to its answer; seed and number of the draw are left out."""
    decode = write.decode
    found: dict[str, Any] = {"max_new_tokens": decode.max_new_tokens, "stop": list(decode.stop)}
    if write.draw:
        return found | {"top_p": decode.top_p, "temperature": decode.temperature}
    if searches(write):
        keys = ("beams", "length_penalty", "length_penalty_base", "no_repeat_ngram", "filter")
        return found | {key: getattr(decode, key) for key in keys}
    return found


def content_of(request: Request) -> list[Any]:
    """All that an answer depends on beside the model, as JSON; requests with the same content are the same."""
    if isinstance(request, Choose):
        return ["choose", BUILDER_VERSION, request.mask, request.attention, request.text, request.options]
    if isinstance(request, Predict):
        return ["predict", BUILDER_VERSION, request.mask, request.prompt, request.counted, request.tokens]
    drawn = [request.draw, request.decode.seed] if request.draw else []
    decoding = sorted(decoding_of(request).items())
    return ["write", BUILDER_VERSION, request.mask, request.attention, request.text, decoding, drawn]


def tokens_of(request: Request) -> int:
    """Tokens that a model reads or writes for a request, about: what time is reckoned by."""
    if isinstance(request, Choose):
        return len(request.text) + sum(map(len, request.options)) + 1
    if isinstance(request, Predict):
        return len(request.tokens) + 1
    return len(request.text) + request.decode.max_new_tokens
