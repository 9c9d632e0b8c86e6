"""Texts to requests: ids, the blank among them, and what is cut where a text is too long."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from glm130b.errors import DataError
from glm130b.evaluation.items import Choose, Predict, Write
from glm130b.evaluation.task import Attention, Decode, Mask
from glm130b.inference import Conventions, keep_end, language_model_windows
from glm130b.tokenization import Tokenizer, wants_no_space

OverLength = Literal["cut_left", "refuse"]

_BLANK = "[MASK]"


class Encoder:
    """Puts texts to one model as its conventions want it.

    The text before the blank, the text after it and each option are tokenised on their own. For models trained here,
    a space before the blank belongs to what fills it, as it did in training; a blank after a text that a space would
    follow, which in Chinese none does, is filled with a space first, too.
    """

    def __init__(self, tokenizer: Tokenizer, conventions: Conventions, max_length: int) -> None:
        """Encode for a model that reads at most ``max_length`` tokens."""
        self._tokenizer, self._conventions, self.max_length = tokenizer, conventions, max_length

    def choose(
        self,
        text: str,
        options: Sequence[str],
        *,
        mask: Mask,
        attention: Attention = "bidirectional",
        over_length: OverLength = "cut_left",
    ) -> Choose:
        """A choice between ``options`` in the place of the text's ``[MASK]``, or else after it.

        A text too long for itself and all options together, as the authors count, loses its beginning; where that
        would take the blank or leave nothing, for itself and the longest option. In one direction, where options
        never stand side by side, that is all it has to have room for.

        Raises:
            DataError: an option is empty; there are several blanks; or the text is too long and ``refuse`` is the
                rule, or cutting would take its blank.
        """
        ids, space = self._encoded(text, mask)
        choices = tuple(tuple(self._option(option, space)) for option in options)
        if not choices:
            raise DataError(f"The text {_start(text)} has no options.", "Give the item its options.")
        longest, together = max(map(len, choices)), sum(map(len, choices))
        needed = [1 if longest == 1 else together, longest]
        if attention == "unidirectional" or over_length == "refuse":
            needed = [longest]
        kept = self._fitting(ids, needed, mask, over_length)
        return Choose(tuple(kept), choices, mask, attention, len(ids) - len(kept))

    def write(
        self,
        text: str,
        *,
        mask: Mask,
        attention: Attention,
        decode: Decode,
        draw: int = 0,
        over_length: OverLength = "cut_left",
    ) -> Write:
        """A text to be filled in or continued; one too long for itself and its answer loses its beginning.

        Args:
            draw: 0 for the model's best answer, 1, 2, … for answers that are drawn.

        Raises:
            DataError: as ``choose``.
        """
        ids, _ = self._encoded(text, mask)
        kept = self._fitting(ids, [decode.max_new_tokens], mask, over_length)
        return Write(tuple(kept), mask, attention, decode, draw, len(ids) - len(kept))

    def windows(
        self, document: str, *, window: int, scored: int, mask: Mask, attention: Attention = "bidirectional"
    ) -> list[Predict]:
        """A document in the authors' windows, each of its tokens counted once; names of blanks are ordinary text.

        Args:
            window: length of a window, blank and all; that of a model with less room is shortened, and ``scored``
                with it.
            scored: tokens that each window after the first adds.

        Returns:
            None for a document without tokens.
        """
        ids = self._tokenizer.encode(document)
        if not ids:
            return []
        length = min(window, self.max_length)
        windows = language_model_windows(
            ids,
            self._tokenizer.special,
            generation_length=max(min(scored * length // window, length - 1), 1),
            max_seq_length=length,
            use_task_mask=mask == "[gMASK]",
            unidirectional=attention == "unidirectional",
            count_once=True,
        )
        found = []
        for made in windows:
            prompt = made.branch.count(0) - 1
            tokens = (*made.targets[:prompt], *made.targets[prompt + 1 :])
            found.append(Predict(tokens, prompt, len(made.targets) - made.first_counted, mask))
        return found

    def each_masked(self, text: str, *, mask: Mask) -> list[Choose]:
        """A question for every token of a text: how probable it is in its place, all others given.

        Raises:
            DataError: the text has no tokens, or more than there is room for.
        """
        ids = tuple(self._tokenizer.encode(text))
        if not ids:
            raise DataError(f"The sentence {_start(text)} has no tokens.", "Leave empty sentences out.")
        self._fitting(list(ids), [1], mask, "refuse")
        kind = self._kind(mask)
        return [Choose((*ids[:n], kind, *ids[n + 1 :]), ((token,),), mask) for n, token in enumerate(ids)]

    def _encoded(self, text: str, mask: Mask) -> tuple[list[int], str]:
        """The text's ids, and what an option has to begin with."""
        parts = text.split(_BLANK)
        if len(parts) > (2 if mask == _BLANK else 1):
            raise DataError(
                f"The text {_start(text)} holds {len(parts) - 1} [MASK], and mask is {mask}.",
                "One [MASK] may be there, with mask: [MASK].",
            )
        space = ""
        if self._conventions.joins_space:
            before = parts[0].removesuffix(" ")
            joined = before != parts[0] or (len(parts) == 1 and not wants_no_space(before))
            parts[0], space = before, " " if joined else ""
        ids = self._tokenizer.encode(parts[0])
        for part in parts[1:]:
            ids += [self._kind(mask), *self._tokenizer.encode(part)]
        return ids, space

    def _option(self, option: str, space: str) -> list[int]:
        ids = self._tokenizer.encode(space + option.removeprefix(space)) if option.strip() else []
        if not ids:
            raise DataError(f"The option {option!r} has no tokens.", "Give the option a text.")
        return ids

    def _fitting(self, ids: list[int], needed: Sequence[int], mask: Mask, over_length: OverLength) -> list[int]:
        """The end of ``ids`` that fits together with the first of ``needed`` for which that can be."""
        rooms = [self.max_length - 2 - tokens for tokens in needed]
        if over_length == "refuse" and len(ids) > rooms[-1]:
            raise DataError(
                f"A text has {len(ids)} tokens, and the model has room for {max(rooms[-1], 0)}.",
                "Shorten it, or let it be cut with over_length: cut_left.",
            )
        for room in rooms[:-1]:
            try:
                return keep_end(ids, room, self._kind(mask))
            except DataError:
                continue
        return keep_end(ids, rooms[-1], self._kind(mask))

    def _kind(self, mask: Mask) -> int:
        special = self._tokenizer.special
        return special.mask if mask == _BLANK else special.gmask


def _start(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:60]}…")
