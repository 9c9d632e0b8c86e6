"""What becomes of a document that has passages of evaluation sets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from glm130b.config import ContaminationConfig
from glm130b.corpus.contamination import Hit

_SENTENCE_ENDS = "\n.!?。！？…"
_WIDEN = 200


@dataclass(frozen=True)
class Verdict:
    """What is to become of a document.

    Attributes:
        left: its text without what has to go; None if all of it has to.
        actions: for each hit, ``logged``, ``cut`` or ``dropped document``.
    """

    left: str | None
    actions: tuple[str, ...]


def decide(text: str, hits: Sequence[Hit], settings: ContaminationConfig) -> Verdict:
    """Act on the hits of a document that hold at least ``min_overlap`` of a test item.

    With ``drop-span`` a document that loses more than ``max_cut`` of its characters is dropped.
    """
    serious = [hit for hit in hits if hit.overlap >= settings.min_overlap] if settings.action != "log" else []
    left: str | None = text
    if serious:
        left = cut_spans(text, serious).strip() if settings.action == "drop-span" else None
        if not left or len(text) - len(left) > settings.max_cut * len(text):
            left = None
    done = "dropped document" if left is None else "cut"
    return Verdict(left, tuple(done if hit in serious else "logged" for hit in hits))


def cut_spans(text: str, hits: Sequence[Hit]) -> str:
    """The text without the sentences that hits lie in.

    A cut is widened to the end of a sentence or line on either side, by 200 characters at most.
    """
    kept: list[str] = []
    done = 0
    for start, end in _merged(sorted((_back(text, hit.start), _forward(text, hit.end)) for hit in hits)):
        kept.append(text[done:start])
        done = end
    return "".join([*kept, text[done:]])


def _merged(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for start, end in spans:
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _back(text: str, start: int) -> int:
    for place in range(start, max(0, start - _WIDEN), -1):
        if text[place - 1] in _SENTENCE_ENDS:
            return place
    return max(0, start - _WIDEN)


def _forward(text: str, end: int) -> int:
    for place in range(end, min(len(text), end + _WIDEN)):
        if text[place] in _SENTENCE_ENDS:
            return place + 1
    return min(len(text), end + _WIDEN)
