"""Beam search with a model."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from glm130b.inference.beam_step import Beams, BeamSearch, Hypothesis, OfficialBeams
from glm130b.inference.context import Context
from glm130b.inference.decode import room_for_answer
from glm130b.inference.reader import Reader
from glm130b.model import GLM


def beam_search(
    model: GLM,
    context: Context,
    *,
    end: Collection[int],
    max_new_tokens: int,
    options: BeamSearch | None = None,
    banned: Sequence[int] = (),
    banned_beginnings: Sequence[Sequence[int]] = (),
    padding: int = 0,
) -> list[Hypothesis]:
    """Search for the best answers to a context's blank; always the same ones, nothing is drawn.

    Args:
        end: tokens that end an answer.
        max_new_tokens: at most this many, and what the model's length allows.
        banned: tokens never to be chosen.
        banned_beginnings: no answer begins with any of these.
        padding: tokens of padding after the context in the authors' evaluation, which pads to a multiple of
            32. With ``compat="glm130b"`` they count as length; without, they change nothing.

    Returns:
        At most ``num_beams`` hypotheses, best first; at least one.

    Raises:
        DataError: the context leaves no room for an answer.
    """
    options = options or BeamSearch()
    count = max(min(max_new_tokens, room_for_answer(model, context)), 0)
    kind, prompt = (OfficialBeams, context.tokens + [0] * padding) if options.compat else (Beams, context.tokens)
    beams = kind(prompt, options, end=end, max_new_tokens=count, banned=banned, banned_beginnings=banned_beginnings)
    if count == 0:
        return beams.hypotheses()
    reader = Reader(model, [context], count)
    for n in range(count):
        parents = beams.advance(reader.logits)
        if beams.done or n + 1 == count:
            break
        reader.take(parents, same_context=True)
        reader.read([tokens[-1] for tokens in beams.answers])
    return beams.hypotheses()
