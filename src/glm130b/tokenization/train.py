"""Training a vocabulary: byte-pair encoding over an equal share of each language.

Byte-pair encoding rather than a unigram model because it measured better and trains twenty times faster;
``docs/decisions/0001-bundled-tokenizer.md`` has the numbers.
"""

from __future__ import annotations

import hashlib
import heapq
import io
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

from glm130b.errors import DataError
from glm130b.tokenization.exact import ExactTokenizer
from glm130b.tokenization.special import NUM_SPECIAL_TOKENS

_MIN_COVERAGE, _MAX_COVERAGE = 0.98, 1.0
_SPACE_RUNS = ["\u2581" * length for length in (2, 4, 8, 16)]
# SentencePiece drops whole sentences that hold NUL, a tab or one of its own marks.
_UNLEARNABLE = re.compile("[\n\r\t\0\u2047\u2581\u2585]+")
_SURROGATE = re.compile("[\ud800-\udfff]")
_MAX_LINE = 2000  # characters


class LabelledText(Protocol):
    """A document that says which language it is in."""

    @property
    def id(self) -> str:
        """A name no other document has."""

    @property
    def text(self) -> str:
        """The document itself."""

    @property
    def lang(self) -> str | None:
        """The language, such as ``en`` or ``zh``."""


def balanced_sample(
    documents: Iterable[LabelledText], *, bytes_per_language: int, seed: int = 0
) -> dict[str, list[str]]:
    """Choose about as much text of each language, by a hash of seed and id, whatever the order.

    Holds no more than the sample in memory.

    Args:
        documents: any number of documents of any number of languages.
        bytes_per_language: stop choosing once a language has this many UTF-8 bytes; a language with
            less is taken whole.
        seed: another number chooses other documents.

    Returns:
        For each language, in alphabetical order, the chosen texts in the order of their hash.
    """
    chosen: dict[str, list[tuple[int, str, int]]] = {}
    sizes: dict[str, int] = {}
    for document in documents:
        lang = document.lang or "unknown"
        digest = hashlib.sha256(f"{seed}:{document.id}".encode()).digest()
        size = len(document.text.encode())
        heap = chosen.setdefault(lang, [])
        heapq.heappush(heap, (-int.from_bytes(digest), document.text, size))
        sizes[lang] = sizes.get(lang, 0) + size
        while sizes[lang] - heap[0][2] >= bytes_per_language:
            sizes[lang] -= heapq.heappop(heap)[2]
    return {lang: [text for _, text, _ in sorted(chosen[lang], reverse=True)] for lang in sorted(chosen)}


def train_tokenizer(
    documents: Iterable[str],
    *,
    vocab_size: int,
    out: str | Path,
    character_coverage: float = 0.998,
    name: str = "bilingual",
) -> ExactTokenizer:
    """Train a vocabulary and write it as a tokenizer folder, whole or not at all.

    The same documents in the same order give the same bytes. Newlines, tabs and runs of 2, 4, 8 and 16
    spaces are single tokens, digits stand alone, and a character too rare to be in the vocabulary is
    spelt in bytes.

    Args:
        documents: the texts to learn from; nothing else is read from them.
        vocab_size: number of ids, the eight special ones included.
        out: the folder to make; it must not exist, or be empty.
        character_coverage: share of the text's characters that get a piece of their own, 0.98 to 1.
        name: what the tokenizer's configuration calls it.

    Raises:
        DataError: no text, too little text for ``vocab_size``, a ``vocab_size`` too small for the
            characters, a coverage out of range, or ``out`` is taken.
    """
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(f"{out} already exists.", "Choose another folder, or remove that one.")
    if not _MIN_COVERAGE <= character_coverage <= _MAX_COVERAGE:
        raise DataError(
            f"character_coverage {character_coverage} is not between {_MIN_COVERAGE} and {_MAX_COVERAGE}.",
            "Use 0.998 for English and Chinese, 1 for an alphabet.",
        )
    tokenizer = ExactTokenizer(_train_model(documents, vocab_size, character_coverage), name=name)
    unfinished = out.parent / f".{out.name}.{os.getpid()}.tmp"
    try:
        tokenizer.save(unfinished)
        unfinished.replace(out)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return tokenizer


def _train_model(documents: Iterable[str], vocab_size: int, character_coverage: float) -> bytes:
    from sentencepiece import SentencePieceTrainer

    reading_errors: list[Exception] = []
    model = io.BytesIO()
    try:
        SentencePieceTrainer.train(
            sentence_iterator=_lines(documents, reading_errors),
            model_writer=model,
            model_type="bpe",
            vocab_size=max(256, vocab_size - NUM_SPECIAL_TOKENS),  # fewer fails with no reason given
            character_coverage=character_coverage,
            normalization_rule_name="identity",
            add_dummy_prefix=False,
            remove_extra_whitespaces=False,
            byte_fallback=True,
            split_digits=True,
            user_defined_symbols=["\n", "\n\n", "\t", *_SPACE_RUNS],
            unk_id=0,
            eos_id=1,
            bos_id=-1,
            pad_id=-1,
            max_sentence_length=4 * _MAX_LINE,
            num_threads=1,
            minloglevel=2,
        )
    except RuntimeError as error:
        if reading_errors:
            raise reading_errors[0] from None
        explained = _explained(str(error), vocab_size)
        if explained is None:
            raise
        raise explained from error
    return model.getvalue()


def _lines(documents: Iterable[str], errors: list[Exception]) -> Iterator[str]:
    # SentencePiece turns an exception of its iterator into a RuntimeError, hence the copy in ``errors``.
    try:
        for document in documents:
            for line in _UNLEARNABLE.split(_SURROGATE.sub("\ufffd", document)):
                for start in range(0, len(line), _MAX_LINE):
                    yield line[start : start + _MAX_LINE]
    except Exception as error:
        errors.append(error)
        raise


def _explained(message: str, vocab_size: int) -> DataError | None:
    if "sentences_.empty()" in message:
        return DataError("There is no text to train a tokenizer on.", "Give files that hold some text.")
    if match := re.search(r"too high .* value <= (\d+)", message):
        largest = int(match[1]) + NUM_SPECIAL_TOKENS
        return DataError(
            f"The text is too little for a vocabulary of {vocab_size}.",
            f"Give more text, or ask for at most {largest}.",
        )
    if match := re.search(r"smaller than required_chars\. \S+ vs (\d+)", message):
        smallest = int(match[1]) + NUM_SPECIAL_TOKENS
        return DataError(
            f"A vocabulary of {vocab_size} is too small for the characters in the text.",
            f"Ask for at least {smallest}, or for a lower character coverage.",
        )
    return None
