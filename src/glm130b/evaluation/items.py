"""Items, questions, what a model is asked, and what became of it: what the parts of an evaluation hand on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from glm130b.evaluation.task import Attention, Decode, Mask


@dataclass(frozen=True)
class Item:
    """One item of a data set.

    Attributes:
        id: stable and unique in its set, such as ``dev.json#17``.
        fields: what templates see.
        labels: indices of the right options, usually one; empty where there are no options.
        references: right answers as text; empty where none are compared.
        group: subject, category or subset, for macro averages and tables; empty if there is none.
        cluster: items of one cluster are not independent (one passage, the same text); empty stands for the id.
    """

    id: str
    fields: Mapping[str, Any]
    labels: tuple[int, ...] = ()
    references: tuple[str, ...] = ()
    group: str = ""
    cluster: str = ""


@dataclass(frozen=True)
class Question:
    """An item as it is put to a model.

    Attributes:
        prompt: id of the wording, empty where a mode has none.
        shots: number of solved examples in the text.
        text: what the model reads; may hold one ``[MASK]``.
        options: texts to choose from; empty for free answers.
        digest: SHA-256 of text and options, in hexadecimal.
    """

    item: Item
    prompt: str
    shots: int
    text: str
    options: tuple[str, ...]
    digest: str


@dataclass(frozen=True)
class Choose:
    """Asks for the summed log-probability of each option in the place of the blank.

    Attributes:
        text: ids; holds the blank, or else it comes at the end.
        options: ids of each option, none empty.
        cut: tokens taken from the left of the text because it was too long.
    """

    text: tuple[int, ...]
    options: tuple[tuple[int, ...], ...]
    mask: Mask
    attention: Attention = "bidirectional"
    cut: int = 0


@dataclass(frozen=True)
class Write:
    """Asks for an answer as text.

    Attributes:
        draw: 0 for the model's best answer, 1, 2, … for answers that are drawn.
        cut: tokens taken from the left of the text because it was too long.
    """

    text: tuple[int, ...]
    mask: Mask
    attention: Attention
    decode: Decode
    draw: int = 0
    cut: int = 0


@dataclass(frozen=True)
class Predict:
    """Asks for the loss on one window of a document, in nats.

    Attributes:
        tokens: ids of the window: its prompt and what is scored.
        prompt: how many of the first tokens are prompt.
        counted: how many of the last tokens count.
    """

    tokens: tuple[int, ...]
    prompt: int
    counted: int
    mask: Mask


Request = Choose | Write | Predict


@dataclass(frozen=True)
class Answer:
    """A model's answer to a request; which fields are set follows from the request.

    Attributes:
        log_probs: of ``Choose``, one an option; of ``Predict``, the sum, one number.
        text: of ``Write``, without the end token.
        ended: of ``Write``, whether the model ended it rather than running into a limit.
    """

    log_probs: tuple[float, ...] = ()
    text: str = ""
    ended: bool = False


@dataclass(frozen=True)
class Chosen:
    """Mode ``choice``.

    Attributes:
        log_probs: summed, one an option.
        lengths: tokens of each option.
        unconditional: log-probabilities without the question, for ``pmi``; else empty.
        scores: normalised as the task says; the largest is the model's choice.
        cut: tokens taken from the left of the text.
    """

    question: Question
    log_probs: tuple[float, ...]
    lengths: tuple[int, ...]
    scores: tuple[float, ...]
    unconditional: tuple[float, ...] = ()
    cut: int = 0

    @property
    def choice(self) -> int:
        """The option with the largest score; the first of equals, as the authors' argmax takes it."""
        return max(range(len(self.scores)), key=lambda n: (self.scores[n], -n))


@dataclass(frozen=True)
class Written:
    """Modes ``generate`` (one text) and ``sample`` (several)."""

    question: Question
    texts: tuple[str, ...]
    ended: tuple[bool, ...]
    cut: int = 0


@dataclass(frozen=True)
class Predicted:
    """Mode ``lm``: the loss of one document, in nats, and what it is divided by.

    Attributes:
        windows: nats and tokens of each of its windows.
    """

    question: Question
    nats: float
    tokens: int
    words: int
    bytes: int
    windows: tuple[tuple[float, int], ...] = ()


@dataclass(frozen=True)
class Compared:
    """Mode ``pair``: pseudo-log-likelihoods of two sentences.

    Attributes:
        first, second: a log-probability a token.
        first_shared, second_shared: whether each token is one that both sentences have.
    """

    question: Question
    first: tuple[float, ...]
    second: tuple[float, ...]
    first_shared: tuple[bool, ...]
    second_shared: tuple[bool, ...]


Outcome = Chosen | Written | Predicted | Compared


@dataclass(frozen=True)
class Unit:
    """What one independent measurement adds to a metric: a vector whose sums the metric is a function of.

    Attributes:
        id: the same in every run of the task, for pairing.
        cluster: units of one cluster are drawn together in a bootstrap.
        group: for macro averages.
        parts: for an accuracy (right, 1); for an F1 (true positives, false positives, false negatives); …
    """

    id: str
    cluster: str
    group: str
    parts: tuple[float, ...]


Better = Literal["higher", "lower", "middle"]


@dataclass(frozen=True)
class Estimate:
    """A number and how sure it is.

    Attributes:
        low, high: ends of the 95 % interval; nan where there is too little for one.
        method: how the interval was made: ``wilson``, ``exact``, ``cluster bootstrap``, …
        units: measurements; ``clusters``: how many of them are independent.
        minimal_effect: smallest difference to an equal sample that would be found with 80 % power at 5 %.
    """

    value: float
    low: float
    high: float
    method: str
    units: int
    clusters: int
    minimal_effect: float = field(default=float("nan"))
