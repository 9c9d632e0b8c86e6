"""Requests to answers: rows side by side under a budget of tokens."""

from __future__ import annotations

import gc
import hashlib
import json
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TypeVar

import torch

from glm130b.errors import ResourceError
from glm130b.evaluation.items import Answer, Choose, Predict, Request, Write
from glm130b.evaluation.lambada import Bans, lambada_bans, last_word
from glm130b.evaluation.requests import decoding_of, searches
from glm130b.evaluation.rows import answer_from, packed, rows_of, size_of
from glm130b.inference import (
    BeamSearch,
    Context,
    Sampling,
    answer_batch,
    beam_search,
    conventions_of,
    generation_context,
    score_choices,
)
from glm130b.model import GLM
from glm130b.tokenization import Tokenizer

_T = TypeVar("_T")
_PADDING = 32
"""The authors' evaluation pads contexts to a multiple, and their beam search counts the padding."""


class Engine:
    """Answers requests with one model.

    Attributes:
        batch_tokens: padded tokens that are read side by side, at most, unless one row has more.
    """

    def __init__(
        self,
        model: GLM,
        tokenizer: Tokenizer,
        *,
        batch_tokens: int = 8192,
        tell: Callable[[str], None] = warnings.warn,
    ) -> None:
        """Make ready.

        Args:
            tell: is given a sentence when memory runs out and the budget is halved.

        Raises:
            DataError: the tokenizer has ids that the model has not.
        """
        tokenizer.check_fits(model.config.vocab_size)
        self.batch_tokens = batch_tokens
        self._model, self._tokenizer, self._tell = model, tokenizer, tell
        self._conventions = conventions_of(model, tokenizer)
        self._max_length = model.config.max_sequence_length
        self._halved = False
        self._bans: Bans | None = None

    def answer(self, requests: Sequence[Request]) -> Iterator[list[tuple[int, Answer]]]:
        """Answer all requests, those alike and of like length together, the longest first.

        A batch is settled by what is left to answer: whoever leaves out the batches that are answered gets the
        same ones that would have followed.

        Returns:
            One list a batch: numbers of requests, each with its answer.

        Raises:
            DataError: an id is not the model's.
            ModelError: the model's logits are not finite.
            ResourceError: one request alone, or half the budget, is too much for the GPU's memory.
        """
        kinds = [_kind(request) for request in requests]
        sizes = [self._size(request) for request in requests]
        order = sorted(range(len(requests)), key=lambda n: (kinds[n], -sizes[n][1], n))
        for kind in dict.fromkeys(kinds[n] for n in order):
            alike = [n for n in order if kinds[n] == kind]
            for batch in packed([sizes[n] for n in alike], self.batch_tokens):
                numbers = [alike[place] for place in batch]
                yield [*zip(numbers, self._answers([requests[n] for n in numbers]), strict=True)]

    def _answers(self, batch: Sequence[Request]) -> list[Answer]:
        """The answers to requests of one kind."""
        writes = [request for request in batch if isinstance(request, Write)]
        if not writes:
            scored = [request for request in batch if not isinstance(request, Write)]
            return self._in_memory(lambda: self._scores(scored))
        if searches(writes[0]):
            return [self._in_memory(partial(self._search, write)) for write in writes]
        return self._in_memory(lambda: self._texts(writes))

    def _size(self, request: Request) -> tuple[int, int]:
        """Rows, and the length of the longest with its answer."""
        if not isinstance(request, Write):
            return size_of(request, self._max_length)
        rows = request.decode.beams if searches(request) else 1
        return rows, len(request.text) + 2 + request.decode.max_new_tokens

    def _scores(self, batch: Sequence[Choose | Predict]) -> list[Answer]:
        rows = [row for request in batch for row in rows_of(request, self._tokenizer.special, self._max_length)]
        parts = packed([(1, len(row.tokens)) for row in rows], self.batch_tokens)
        scores = iter([found for part in parts for found in score_choices(self._model, [rows[n] for n in part])])
        return [answer_from(request, scores, self._max_length) for request in batch]

    def _texts(self, batch: Sequence[Write]) -> list[Answer]:
        """Greedy or drawn, side by side."""
        first, decode = batch[0], batch[0].decode
        sampling = Sampling(temperature=decode.temperature, top_p=decode.top_p) if first.draw else Sampling()
        answers: list[Answer] = []
        for part in packed([self._size(write) for write in batch], self.batch_tokens):
            writes = [batch[n] for n in part]
            found = answer_batch(
                self._model,
                [self._context(write) for write in writes],
                end=self._conventions.end,
                max_new_tokens=decode.max_new_tokens,
                sampling=sampling,
                banned=self._banned(first),
                seeds=[seed_of(write) for write in writes],
                until=(lambda ids: self._text(ids, decode.stop)[1]) if decode.stop else None,
            )
            answers += [self._answer(ids, decode.stop) for ids in found]
        return answers

    def _search(self, write: Write) -> Answer:
        decode, context = write.decode, self._context(write)
        total = decode.length_penalty_base == "total"
        bans = self._lambada_bans() if decode.filter == "lambada" else Bans((), ())
        found = beam_search(
            self._model,
            context,
            end=self._conventions.end,
            max_new_tokens=decode.max_new_tokens,
            options=BeamSearch(
                num_beams=decode.beams,
                length_penalty=decode.length_penalty,
                no_repeat_ngram=decode.no_repeat_ngram,
                compat="glm130b" if total else None,
            ),
            banned=[*self._banned(write), *bans.anywhere],
            banned_beginnings=bans.beginnings,
            padding=-len(context.tokens) % _PADDING if total else 0,
        )
        answers = [self._answer(hypothesis.tokens, decode.stop) for hypothesis in found]
        return answers[last_word([answer.text for answer in answers]) if decode.filter == "lambada" else 0]

    def _context(self, write: Write) -> Context:
        return generation_context(
            write.text,
            self._tokenizer.special,
            max_gen_length=write.decode.max_new_tokens,
            max_seq_length=len(write.text) + 2 + write.decode.max_new_tokens,
            use_task_mask=write.mask == "[gMASK]",
            unidirectional=write.attention == "unidirectional",
        )

    def _banned(self, write: Write) -> tuple[int, ...]:
        rules = self._conventions
        return rules.banned if write.mask == "[MASK]" else rules.banned + rules.banned_after_gmask

    def _lambada_bans(self) -> Bans:
        if self._bans is None:
            self._bans = lambada_bans(self._tokenizer, joins_space=self._conventions.joins_space)
        return self._bans

    def _answer(self, ids: Sequence[int], stops: Sequence[str]) -> Answer:
        ended = bool(ids) and ids[-1] in self._conventions.end
        text, stopped = self._text(ids[:-1] if ended else ids, stops)
        return Answer(text=text.strip(), ended=ended or stopped)

    def _text(self, ids: Sequence[int], stops: Sequence[str]) -> tuple[str, bool]:
        """An answer up to the first stop text, and whether it has one."""
        text = self._tokenizer.decode(ids, skip_special=True)
        places = [place for stop in stops if (place := text.find(stop)) >= 0]
        return (text[: min(places)], True) if places else (text, False)

    def _in_memory(self, work: Callable[[], _T]) -> _T:
        """Do something; if the GPU's memory runs out, halve the budget, but once only, and do it again."""
        try:
            return work()
        except torch.OutOfMemoryError:
            if self._halved:
                raise ResourceError(
                    f"The GPU's memory does not hold {self.batch_tokens} tokens side by side, or one long text.",
                    "Go on with fewer --batch-tokens, lower --bits, or more GPUs; what was answered is kept.",
                ) from None
        self._halved = True
        self.batch_tokens = max(self.batch_tokens // 2, 1)
        gc.collect()
        torch.cuda.empty_cache()
        self._tell(f"The GPU's memory ran out; from here on {self.batch_tokens} tokens are read side by side.")
        return work()


def seed_of(write: Write) -> int:
    """Of an answer's draws: of its text, the seed and the draw's number, and of nothing else in its batch."""
    content = json.dumps([write.text, write.decode.seed, write.draw]).encode()
    return int.from_bytes(hashlib.sha256(content).digest()[:8], "little") >> 1


def _kind(request: Request) -> str:
    """Requests of one kind can be answered side by side."""
    if isinstance(request, Write):
        return json.dumps(["write", request.mask, request.draw > 0, decoding_of(request)])
    return "score"
