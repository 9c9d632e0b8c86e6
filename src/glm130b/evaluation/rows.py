"""Requests for probabilities as rows of a batch, and rows as batches."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from glm130b.evaluation.items import Answer, Choose, Predict
from glm130b.inference import ChoiceItem, as_choice, choice_item, unidirectional_choice, window_row
from glm130b.tokenization import SpecialTokens


def option_groups(request: Choose, max_length: int) -> list[list[int]]:
    """Numbers of the options that share a row.

    In one direction those do that differ in their last token alone. Else all do or, if the row would be longer than
    ``max_length``, as many as fit.
    """
    if request.attention == "unidirectional":
        by_start: dict[tuple[int, ...], list[int]] = {}
        for number, option in enumerate(request.options):
            by_start.setdefault(option[:-1], []).append(number)
        return list(by_start.values())
    if _single_token(request.options):
        return [[*range(len(request.options))]]
    room = max_length - len(request.text) - 1
    groups: list[list[int]] = []
    used = room
    for number, option in enumerate(request.options):
        if used + len(option) > room:
            groups.append([])
            used = 0
        groups[-1].append(number)
        used += len(option)
    return groups


def size_of(request: Choose | Predict, max_length: int) -> tuple[int, int]:
    """Rows, and the length of the longest."""
    if isinstance(request, Predict):
        return 1, len(request.tokens) + 1
    groups = _grouped(request, max_length)
    one_row = request.attention == "unidirectional" or _single_token(request.options)
    return len(groups), len(request.text) + 1 + max(len(own[0]) if one_row else sum(map(len, own)) for own in groups)


def rows_of(request: Choose | Predict, special: SpecialTokens, max_length: int) -> list[ChoiceItem]:
    """The rows whose scores answer a request."""
    if isinstance(request, Predict):
        kind = special.gmask if request.mask == "[gMASK]" else special.mask
        return [as_choice(window_row(request.tokens, request.prompt, request.counted, kind, special))]
    groups = _grouped(request, max_length)
    if request.attention == "unidirectional":
        return [unidirectional_choice(request.text, own, special) for own in groups]
    return [
        choice_item(
            request.text,
            own,
            special,
            single_token=_single_token(own),
            max_seq_length=len(request.text) + 2 + sum(map(len, own)),
            use_task_mask=request.mask == "[gMASK]",
        )
        for own in groups
    ]


def answer_from(request: Choose | Predict, scores: Iterable[Sequence[float]], max_length: int) -> Answer:
    """The answer, from the scores of a request's rows; takes no more of ``scores`` than these."""
    left = iter(scores)
    if isinstance(request, Predict):
        return Answer(log_probs=tuple(next(left)))
    found: dict[int, float] = {}
    for group in option_groups(request, max_length):
        found |= zip(group, next(left), strict=True)
    return Answer(log_probs=tuple(found[number] for number in range(len(request.options))))


def packed(sizes: Sequence[tuple[int, int]], budget: int) -> list[list[int]]:
    """Cut a sequence of (rows, length) into batches of at most ``budget`` padded tokens, or of one."""
    batches: list[list[int]] = []
    rows = longest = 0
    for number, (its_rows, length) in enumerate(sizes):
        rows, longest = rows + its_rows, max(longest, length)
        if not batches or rows * longest > budget:
            batches.append([])
            rows, longest = its_rows, length
        batches[-1].append(number)
    return batches


def _grouped(request: Choose, max_length: int) -> list[list[tuple[int, ...]]]:
    return [[request.options[number] for number in group] for group in option_groups(request, max_length)]


def _single_token(options: Sequence[Sequence[int]]) -> bool:
    return all(len(option) == 1 for option in options)
