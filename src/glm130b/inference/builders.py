"""The inputs of the authors' evaluation: generation, multiple choice, language modelling.

Each builder maps ids to a row of integers. Who sees whom is said by ``branch`` alone: branch 0 is seen
by the whole row, a later branch only by itself and in order (see ``model/attention.py``). The blank is
[gMASK] with ``use_task_mask``, else [MASK].
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from glm130b.errors import ConfigError, DataError
from glm130b.inference.context import Context, Row
from glm130b.tokenization import SpecialTokens


@dataclass(frozen=True)
class ChoiceItem(Row):
    """A question and its choices side by side, each choice its own branch.

    Attributes:
        choices: ids of each choice.
        rows: ``rows[i][t]`` is the row whose logits say ``choices[i][t]``.
    """

    choices: list[list[int]]
    rows: list[list[int]]


@dataclass(frozen=True)
class Window(Row):
    """One stretch of a document to be predicted.

    Attributes:
        targets: the token each row is to predict.
        first_counted: rows from here on count for the loss.
    """

    targets: list[int]
    first_counted: int


def generation_context(
    text: Sequence[int],
    special: SpecialTokens,
    *,
    max_gen_length: int,
    max_seq_length: int = 2048,
    use_task_mask: bool = False,
    unidirectional: bool = False,
) -> Context:
    """A text to be answered freely.

    A text that with the answer and two tokens more exceeds ``max_seq_length`` loses its beginning. Its
    [MASK], if it has one, is answered; else a blank is appended. sop follows; it and the answer are causal
    and all else sees all of the text. No eos is appended. Positions count from 0, those of [gMASK] answers
    go on; with [MASK], sop and the whole answer have the blank's.

    Args:
        unidirectional: put [gMASK] and sop in front of the text, which is then all causal.

    Raises:
        ConfigError: ``unidirectional`` without ``use_task_mask``.
        DataError: the text holds the blank where it may not, cutting takes it away, or there is no room.
    """
    kind = special.gmask if use_task_mask else special.mask
    if unidirectional and not use_task_mask:
        raise ConfigError("Unidirectional contexts need [gMASK].", "Set use_task_mask too.")
    if use_task_mask and kind in text:
        raise DataError(
            "A text for generation with [gMASK] holds one already.",
            "Leave it out, or use [MASK] without use_task_mask.",
        )
    tokens = keep_end(text, max_seq_length - max_gen_length - 2, kind)
    blank = tokens.index(kind) if kind in tokens else None
    if unidirectional:
        tokens, blank = [kind, special.sop, *tokens], 0
    elif blank is None:
        blank = len(tokens)
        tokens += [kind, special.sop]
    else:
        tokens.append(special.sop)
    length = len(tokens)
    return Context(
        tokens=tokens,
        position_ids=[*range(length - 1), length - 1 if use_task_mask else blank],
        branch=[1] * length if unidirectional else [0] * (length - 1) + [1],
        blank=blank,
        repeats=not use_task_mask,
    )


def all_single_token(choices_of_items: Iterable[Sequence[Sequence[int]]]) -> bool:
    """Whether every choice of every item is one token: the authors choose the form for a whole data set."""
    return all(len(choice) == 1 for choices in choices_of_items for choice in choices)


def choice_item(
    text: Sequence[int],
    choices: Sequence[Sequence[int]],
    special: SpecialTokens,
    *,
    single_token: bool,
    max_seq_length: int = 2048,
    use_task_mask: bool = False,
    use_multitask_encoding: bool = False,
) -> ChoiceItem:
    """A question whose choices are scored in one pass.

    A text that with all choices and two tokens more exceeds ``max_seq_length`` loses its beginning; choices
    of one token count as one token together, in either form, so that the row may be longer by the rest. A
    blank is appended unless the text holds one. The text sees all of itself and no choice. Each choice is
    sop and its tokens but the last. The positions of a choice all equal the blank's with [MASK], and count on
    from the text's length with [gMASK], for every choice anew.

    Args:
        single_token: all choices are one token and are read from the row of one sop; to be decided for the
            whole data set (see ``all_single_token``).
        use_multitask_encoding: with [MASK] and an appended blank, count on from the blank's position. The
            authors call this unsupported.

    Raises:
        DataError: there is no choice, an empty one, a long one in the single-token form; or the choices
            leave the text no room, or cutting takes its blank away.
    """
    if not choices or not all(choices):
        raise DataError(f"A question has an empty choice among {len(choices)}.", "Give each choice at least one token.")
    if single_token and not all_single_token([choices]):
        raise DataError("A choice in single-token form has several tokens.", "Use the other form for the data set.")
    kind = special.gmask if use_task_mask else special.mask
    needed = 1 if all_single_token([choices]) else sum(map(len, choices))
    tokens = keep_end(text, max_seq_length - 2 - needed, kind)
    appended = kind not in tokens
    if appended:
        tokens.append(kind)
    blank, length = tokens.index(kind), len(tokens)
    counts_on = use_task_mask or (use_multitask_encoding and appended)
    start = length if use_task_mask else blank
    position_ids, branch, rows = [*range(length)], [0] * length, []
    for number, choice in enumerate(choices[:1] if single_token else choices, start=1):
        rows.append([*range(len(tokens), len(tokens) + len(choice))])
        tokens += [special.sop, *choice[:-1]]
        position_ids += [start + n if counts_on else start for n in range(len(choice))]
        branch += [number] * len(choice)
    return ChoiceItem(
        tokens,
        position_ids,
        branch,
        [list(choice) for choice in choices],
        rows * len(choices) if single_token else rows,
    )


def unidirectional_choice(text: Sequence[int], choices: Sequence[Sequence[int]], special: SpecialTokens) -> ChoiceItem:
    """A question in one direction, and choices that differ in nothing but their last token.

    [gMASK] and sop come first; then text and choice are causal, with positions 0, 1, 2, …, so that choices that
    begin differently need a row each.

    Raises:
        DataError: a choice is empty, or they differ earlier.
    """
    if not choices or not all(choices) or len({tuple(choice[:-1]) for choice in choices}) > 1:
        raise DataError("Choices of one row are empty, or differ before their last token.", "Give each its own row.")
    tokens = [special.gmask, special.sop, *text, *choices[0][:-1]]
    length = len(tokens)
    return ChoiceItem(
        tokens,
        [*range(length)],
        [1] * length,
        [list(choice) for choice in choices],
        [[*range(length - len(choice), length)] for choice in choices],
    )


def language_model_windows(
    document: Sequence[int],
    special: SpecialTokens,
    *,
    generation_length: int,
    max_seq_length: int = 2048,
    use_task_mask: bool = True,
    unidirectional: bool = False,
    count_once: bool = False,
) -> list[Window]:
    """A document in windows that overlap.

    Windows start every ``generation_length`` tokens and hold up to ``max_seq_length`` - 1 of them; there
    are ceil(max(tokens - (``max_seq_length`` - 1), 0) / ``generation_length``) + 1. All but the first have
    a prompt, what they have in common with the window before; it and the blank see one another, sop and
    the text are causal, and the text alone counts. Positions are 0, 1, 2, … with both blanks.

    Args:
        unidirectional: no window has a prompt: all of its tokens are text. As in the authors' code the
            overlaps then count several times;
        count_once: with this each token of the document counts once.

    Raises:
        ConfigError: ``generation_length`` is not between 1 and ``max_seq_length`` - 1.
        DataError: the document is empty.
    """
    room = max_seq_length - 1
    if not 1 <= generation_length <= room:
        raise ConfigError(
            f"generation_length is {generation_length}, max_seq_length {max_seq_length}.",
            "Let generation_length be at least 1 and less than max_seq_length.",
        )
    if not document:
        raise DataError("A document has no tokens.", "Leave empty documents out.")
    kind = special.gmask if use_task_mask else special.mask
    overlap = room - generation_length
    windows = []
    for number in range(-(-max(len(document) - room, 0) // generation_length) + 1):
        tokens = document[number * generation_length :][:room]
        seen = overlap if number else 0
        prompt = 0 if unidirectional else seen
        windows.append(window_row(tokens, prompt, len(tokens) - (seen if count_once else prompt), kind, special))
    return windows


def window_row(tokens: Sequence[int], prompt: int, counted: int, kind: int, special: SpecialTokens) -> Window:
    """One window: ``prompt`` tokens that see one another, the blank ``kind``, sop and the rest, which is causal.

    Args:
        counted: so many of the last tokens count for the loss.
    """
    before, text = list(tokens[:prompt]), list(tokens[prompt:])
    return Window(
        tokens=[*before, kind, special.sop, *text[:-1]],
        position_ids=[*range(len(tokens) + 1)],
        branch=[0] * (prompt + 1) + [1] * len(text),
        targets=[*before, kind, *text],
        first_counted=len(tokens) + 1 - counted,
    )


def keep_end(text: Sequence[int], room: int, kind: int) -> list[int]:
    """The last ``room`` ids of a text that is longer.

    Raises:
        DataError: there is no room, or the blank ``kind`` would be cut away.
    """
    if len(text) <= room:
        return list(text)
    if room < 1:
        raise DataError(
            f"There is room for {max(room, 0)} of a text's {len(text)} tokens.",
            "Raise max_seq_length, or ask for shorter answers.",
        )
    kept = list(text[-room:])
    if kind in text and kind not in kept:
        raise DataError(
            f"A text of {len(text)} tokens is cut to its last {room}, and its blank is not among them.",
            "Shorten the text after the blank, or raise max_seq_length.",
        )
    return kept
