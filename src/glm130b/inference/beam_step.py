"""Beam search without a model: from logits to the beams that go on and the hypotheses that are finished."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from glm130b.errors import ConfigError, DataError
from glm130b.inference.sampling import EXCLUDED

_MAX_PENALTY = 10.0
_MAX_BEAMS = 1000


@dataclass(frozen=True)
class BeamSearch:
    """How to search.

    A hypothesis is scored by the sum of its tokens' log-probabilities divided by
    ((5 + length) / 6) ^ ``length_penalty`` (Wu et al. 2016, arXiv:1609.08144).

    Attributes:
        num_beams: answers that are kept at each step, and hypotheses returned.
        length_penalty: 0 compares sums; the larger, the better for long answers.
        no_repeat_ngram: no n-gram of this length comes twice in text and answer; 0 for no such rule. An end
            token is always allowed.
        min_new_tokens: the answer does not end before so many, its end token not counted.
        compat: ``"glm130b"`` searches as the authors' program does, ``docs/differences.md`` says how that
            differs.
    """

    num_beams: int = 4
    length_penalty: float = 1.0
    no_repeat_ngram: int = 0
    min_new_tokens: int = 0
    compat: Literal["glm130b"] | None = None

    def __post_init__(self) -> None:
        fits = 1 <= self.num_beams <= _MAX_BEAMS and self.no_repeat_ngram >= 0 and self.min_new_tokens >= 0
        if not fits or not abs(self.length_penalty) <= _MAX_PENALTY or self.compat not in (None, "glm130b"):
            raise ConfigError(
                f"Cannot search with {self.num_beams} beams, length penalty {self.length_penalty}, no repeated "
                f"{self.no_repeat_ngram}-gram, at least {self.min_new_tokens} tokens, "
                f"rules {self.compat or 'corrected'}.",
                f"There are 1 to {_MAX_BEAMS} beams, the penalty lies between -{_MAX_PENALTY:g} and "
                f"{_MAX_PENALTY:g}, the other numbers are not negative, and compat is None or 'glm130b'.",
            )


@dataclass(frozen=True)
class Hypothesis:
    """An answer found.

    Attributes:
        tokens: its end token included.
        score: after the length penalty.
        ended: whether it has an end token, rather than being cut by the limit.
    """

    tokens: list[int]
    score: float
    ended: bool


class Beams:
    """The state of one search, and its step.

    Attributes:
        answers: tokens of each answer that goes on, best first; at the start one that is empty.
        sums: their summed log-probabilities.
        finished: at most ``num_beams`` hypotheses, best first.
        done: whether going on can change nothing.
    """

    def __init__(
        self,
        prompt: Sequence[int],
        options: BeamSearch,
        *,
        end: Collection[int],
        max_new_tokens: int,
        banned: Sequence[int] = (),
        banned_beginnings: Sequence[Sequence[int]] = (),
    ) -> None:
        """Start a search.

        Args:
            prompt: what lies before the answer.
            end: tokens that end an answer.
            banned: tokens never to be chosen.
            banned_beginnings: no answer begins with any of these.

        Raises:
            DataError: a banned beginning is empty.
        """
        self.prompt, self.options, self.end = list(prompt), options, frozenset(end)
        self.max_new_tokens, self.banned = max_new_tokens, list(banned)
        self.banned_beginnings = [list(beginning) for beginning in banned_beginnings]
        if not all(self.banned_beginnings):
            raise DataError("A banned beginning has no tokens, so every answer begins with it.", "Leave it out.")
        self.answers: list[list[int]] = [[]]
        self.sums = [0.0]
        self.finished: list[Hypothesis] = []
        self.done = False

    def advance(self, logits: Tensor) -> list[int]:
        """Give every answer its next token.

        Args:
            logits: ``[len(answers), V]``.

        Returns:
            Which of the former answers each of the new ones goes on from; empty if none does.
        """
        log_probs = self._log_probs(logits.float())
        totals = (log_probs + torch.tensor(self.sums, device=logits.device)[:, None]).flatten()
        # With so many, at least num_beams of them are no end.
        best = totals.topk(min((len(self.end) + 1) * self.options.num_beams, len(totals)))
        parents: list[int] = []
        answers: list[list[int]] = []
        sums: list[float] = []
        for rank, (total, place) in enumerate(zip(best.values.tolist(), best.indices.tolist(), strict=True)):
            parent, token = divmod(place, logits.shape[1])
            tokens = [*self.answers[parent], token]
            if total == -math.inf:
                break
            if token in self.end:
                if self._may_end(rank):
                    self._finish(tokens, total, ended=True)
            elif len(answers) < self.options.num_beams:
                parents.append(parent)
                answers.append(tokens)
                sums.append(total)
            else:
                break
        if answers:  # else the answers that nothing may follow are kept, to be cut there
            self.answers, self.sums = answers, sums
        self.done = not answers or (len(self.finished) == self.options.num_beams and not self._can_improve())
        return parents

    def hypotheses(self) -> list[Hypothesis]:
        """What was found, best first; unless the search is done, answers cut at the limit take part."""
        if not (self.done and self.finished):
            for tokens, total in zip(self.answers, self.sums, strict=True):
                self._finish(tokens, total, ended=False)
            self.answers, self.sums, self.done = [], [], True
        return self.finished

    def _log_probs(self, logits: Tensor) -> Tensor:
        return torch.log_softmax(logits, dim=-1).masked_fill(self._excluded(logits), -math.inf)

    def _excluded(self, logits: Tensor) -> Tensor:
        excluded = torch.zeros_like(logits, dtype=torch.bool)
        words = range(logits.shape[1])
        excluded[:, [token for token in self.banned if token in words]] = True
        if len(self.answers[0]) < self.options.min_new_tokens:
            excluded[:, [token for token in self.end if token in words]] = True
        for row, tokens in enumerate(self.answers):
            excluded[row, list(self._repeating(tokens) - self.end)] = True
            for *start, last in self.banned_beginnings:
                if tokens == start and last in words:
                    excluded[row, last] = True
        return excluded

    def _repeating(self, answer: list[int]) -> set[int]:
        """Tokens that would make an n-gram come twice."""
        n = self.options.no_repeat_ngram
        return repeating(self.prompt + answer, n, n - 1) if n else set()

    def _may_end(self, rank: int) -> bool:
        return rank < self.options.num_beams

    def _penalised(self, total: float, length: int) -> float:
        """The score of an answer of so many tokens."""
        return float(total / ((5 + length) / 6) ** self.options.length_penalty)

    def _can_improve(self) -> bool:
        """Whether an answer that goes on can still beat the worst finished one: its sum can only fall."""
        now = len(self.answers[0])
        longest = self.max_new_tokens if self.options.length_penalty > 0 else min(now + 1, self.max_new_tokens)
        return self._penalised(max(self.sums), longest) > self.finished[-1].score

    def _goes_before(self, score: float, other: float) -> bool:
        return score > other

    def _finish(self, tokens: list[int], total: float, *, ended: bool) -> None:
        score = self._penalised(total, len(tokens))
        place = sum(not self._goes_before(score, other.score) for other in self.finished)
        self.finished.insert(place, Hypothesis(tokens, score, ended))
        del self.finished[self.options.num_beams :]


class OfficialBeams(Beams):
    """The authors' rules.

    What is excluded is excluded before the softmax, so that the other probabilities grow; every end token
    met on the way to the last beam counts; only n-grams that end in the answer are repeated, and n = 1 has
    no effect; lengths are of prompt and answer together; of equal scores the newer comes first; the search
    is done when the worst finished hypothesis is as good as the best answer is at its present length.
    """

    def _log_probs(self, logits: Tensor) -> Tensor:
        return torch.log_softmax(logits.masked_fill(self._excluded(logits), EXCLUDED), dim=-1)

    def _repeating(self, answer: list[int]) -> set[int]:
        n, length = self.options.no_repeat_ngram, len(self.prompt) + len(answer)
        return repeating(self.prompt + answer, n, len(self.prompt)) if 1 < n < length else set()

    def _may_end(self, rank: int) -> bool:
        return True

    def _penalised(self, total: float, length: int) -> float:
        return super()._penalised(total, len(self.prompt) + length)

    def _can_improve(self) -> bool:
        return self._penalised(max(self.sums), len(self.answers[0])) > self.finished[-1].score

    def _goes_before(self, score: float, other: float) -> bool:
        return score >= other


def repeating(ids: Sequence[int], n: int, first: int) -> set[int]:
    """Tokens that, put after ``ids``, would repeat one of its n-grams whose last id has index ``first`` or more."""
    key = ids[len(ids) - n + 1 :]
    return {ids[i] for i in range(max(first, n - 1), len(ids)) if ids[i - n + 1 : i] == key}
