"""Texts with blanks in, filled texts out."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from glm130b.errors import DataError
from glm130b.inference.beam import beam_search
from glm130b.inference.beam_step import BeamSearch
from glm130b.inference.context import Context, blanks_in_order, make_context
from glm130b.inference.conventions import Conventions, conventions_of
from glm130b.inference.decode import answer
from glm130b.inference.sampling import Sampling
from glm130b.inference.speculate import Speculation
from glm130b.model import GLM
from glm130b.tokenization import SpecialTokens, Tokenizer, wants_no_space

_BLANK = re.compile(r"\[(?:MASK|gMASK|sMASK)\]")

Decoding = Sampling | BeamSearch
"""How an answer is found: token by token, or the best of several."""


@dataclass(frozen=True)
class BlankAnswer:
    """One blank and what was put there."""

    kind: str
    text: str
    ended: bool
    """Whether the model ended its answer, rather than running into a limit."""


class Listener(Protocol):
    """What ``fill_blanks`` tells of its answers while it goes on."""

    def begin(self, context: Context) -> None:
        """The blank of this context is answered next."""

    def token(self, token_id: int) -> None:
        """The answer goes on; never with an end token."""

    def end(self) -> None:
        """The answer is complete."""


def fill_blanks(
    model: GLM,
    ids: Sequence[int],
    special: SpecialTokens,
    conventions: Conventions,
    *,
    max_new_tokens: int = 128,
    max_length: int | None = None,
    decoding: Decoding | None = None,
    speculation: Speculation | None = None,
    listener: Listener | None = None,
) -> tuple[list[int], list[tuple[int, list[int], bool]]]:
    """Fill every blank of a text, one after the other; each answer is text to those that follow.

    First all [MASK], then all [sMASK], then all [gMASK]. A blank that the model itself writes stays there.

    Args:
        max_new_tokens: at most this many for each blank.
        max_length: at most this many tokens of text and answer together; default the model's length. A blank
            that it leaves no room for gets an empty answer.
        decoding: default greedy; with beams, the best hypothesis is the answer.
        speculation: guess ahead, see ``answer``; not with beams.
        listener: is told of each answer as it comes or, with beams, when it is found.

    Returns:
        The filled text; and for each blank, in the order filled, its id, its answer without the end token
        and whether it had one. Without a blank, the text is continued as if it ended in [gMASK].
    """
    decoding = decoding or Sampling()
    generator = torch.Generator().manual_seed(decoding.seed if isinstance(decoding, Sampling) else 0)
    text, answers = list(ids), []
    places: list[int | None] = [*blanks_in_order(text, special)] or [None]
    for n, place in enumerate(places):
        context = make_context(text, special, blank=place, append_eos=conventions.append_eos)
        budget = max_new_tokens
        if max_length is not None:
            budget = min(budget, max_length - len(context.tokens))
        if listener is not None:
            listener.begin(context)
        found: list[int] = []
        for token in _answer(model, context, conventions, decoding, speculation, budget, generator):
            found.append(token)
            if listener is not None and token not in conventions.end:
                listener.token(token)
        if listener is not None:
            listener.end()
        ended = bool(found) and found[-1] in conventions.end
        if ended:
            found.pop()
        answers.append((context.tokens[context.blank], found, ended))
        text[context.blank : context.blank + 1] = found
        shift = len(found) - 1
        places[n + 1 :] = [later + shift * (later > context.blank) for later in places[n + 1 :] if later is not None]
    return text, answers


def _answer(
    model: GLM,
    context: Context,
    conventions: Conventions,
    decoding: Decoding,
    speculation: Speculation | None,
    max_new_tokens: int,
    generator: torch.Generator,
) -> Iterator[int]:
    end = conventions.end
    banned = conventions.banned if context.repeats else conventions.banned + conventions.banned_after_gmask
    if isinstance(decoding, Sampling):
        return answer(
            model,
            context,
            end=end,
            max_new_tokens=max_new_tokens,
            sampling=decoding,
            banned=banned,
            generator=generator,
            speculation=speculation,
        )
    found = beam_search(model, context, end=end, max_new_tokens=max_new_tokens, options=decoding, banned=banned)
    return iter(found[0].tokens)


def fill(
    model: GLM,
    tokenizer: Tokenizer,
    text: str,
    *,
    max_new_tokens: int = 64,
    decoding: Decoding | None = None,
    speculation: Speculation | None = None,
    on_text: Callable[[str], None] | None = None,
) -> tuple[str, list[BlankAnswer]]:
    """Fill the ``[MASK]``, ``[sMASK]`` and ``[gMASK]`` blanks of a text.

    The model is asked as it was trained, an official one as the authors ask it (see ``conventions_of``). For
    models trained here, a space before a blank belongs to the answer, as it did in training.

    Args:
        decoding: default greedy; with beams, the best hypothesis is the answer.
        speculation: guess ahead, see ``answer``; not with beams.
        on_text: is given each answer as it comes, piece by piece.

    Returns:
        The text as it was given, with the answers in the places of its blanks; and the answers in the order
        they were found.

    Raises:
        DataError: there is no blank, or the text is longer than the model.
    """
    if not _BLANK.search(text):
        raise DataError("The text has no blank.", "Put [MASK] where something is to be filled in.")
    return _run(model, tokenizer, text, max_new_tokens, decoding, speculation, on_text)


def generate(
    model: GLM,
    tokenizer: Tokenizer,
    text: str,
    *,
    max_new_tokens: int = 128,
    decoding: Decoding | None = None,
    speculation: Speculation | None = None,
    on_text: Callable[[str], None] | None = None,
) -> str:
    """Continue a text with ``[gMASK]``; returns the continuation alone. Arguments as in ``fill``.

    Raises:
        DataError: the text holds a blank, or is longer than the model.
    """
    if _BLANK.search(text):
        raise DataError("The text to continue holds a blank.", "Use `glm fill` for blanks.")
    asked, after_space = text + "[gMASK]", text.endswith(" ")
    options = max_new_tokens, decoding, speculation, on_text
    return _run(model, tokenizer, asked, *options, after_space=after_space)[1][0].text


class _Speaker:
    """Turns answers into text as they come, each as what follows the text before its blank."""

    def __init__(
        self, tokenizer: Tokenizer, without_space: Sequence[bool], on_text: Callable[[str], None] | None
    ) -> None:
        """Speak; answer n drops a space that it begins with if ``without_space[n]``."""
        self._tokenizer, self._without_space, self._on_text = tokenizer, without_space, on_text
        self.texts: list[str] = []

    def begin(self, context: Context) -> None:
        self._decoder = self._tokenizer.stream_decoder()
        self._decoder.skip(context.tokens[: context.blank])
        self._drops_space = self._without_space[len(self.texts)]
        self.texts.append("")

    def token(self, token_id: int) -> None:
        self._say(self._decoder.push(token_id))

    def end(self) -> None:
        self._say(self._decoder.finish())

    def _say(self, text: str) -> None:
        if self._drops_space and text:
            self._drops_space = False
            text = text.removeprefix(" ")
        self.texts[-1] += text
        if self._on_text is not None and text:
            self._on_text(text)


def _run(
    model: GLM,
    tokenizer: Tokenizer,
    text: str,
    max_new_tokens: int,
    decoding: Decoding | None,
    speculation: Speculation | None,
    on_text: Callable[[str], None] | None,
    *,
    after_space: bool = False,
) -> tuple[str, list[BlankAnswer]]:
    conventions = conventions_of(model, tokenizer)
    if conventions.joins_space:
        text = re.sub(rf" (?={_BLANK.pattern})", "", text)
    ids = tokenizer.encode_with_blanks(text)
    parts = _BLANK.split(text)
    places = blanks_in_order(ids, tokenizer.special)
    order = [sorted(places).index(place) for place in places]
    without_space = [
        after_space or (not conventions.joins_space and (parts[n] != "" or n == 0) and wants_no_space(parts[n]))
        for n in order
    ]
    speaker = _Speaker(tokenizer, without_space, on_text)
    _, answers = fill_blanks(
        model,
        ids,
        tokenizer.special,
        conventions,
        max_new_tokens=max_new_tokens,
        decoding=decoding,
        speculation=speculation,
        listener=speaker,
    )
    filled = [parts[0]]
    for n in range(len(order)):
        filled += [speaker.texts[order.index(n)], parts[n + 1]]
    names = tokenizer.special.names()
    return "".join(filled), [
        BlankAnswer(names[kind], said, ended) for (kind, _, ended), said in zip(answers, speaker.texts, strict=True)
    ]
