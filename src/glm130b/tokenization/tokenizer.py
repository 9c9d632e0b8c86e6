"""What every tokenizer can do: text to ids, ids to text at once or one by one, files in a folder."""

from __future__ import annotations

import codecs
import json
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from glm130b.errors import DataError
from glm130b.tokenization.special import SpecialTokens

CONFIG_FILE = "tokenizer_config.json"
SPACE_MARK = "\u2581"  # how SentencePiece writes a space inside a piece
RETRAIN = "Train one with `glm tokenizer train`."

_BLANK = re.compile(r"(\[MASK\]|\[gMASK\]|\[sMASK\])")


class Tokenizer(ABC):
    """The common interface of ``ExactTokenizer`` and ``IceTokenizer``.

    Attributes:
        name: what ``tokenizer_config.json`` calls it.
        special: the ids of the special tokens.
        vocab_size: one more than the largest id, special tokens included.
        model_fingerprint: SHA-256 of the model file in hex: the same if the ids mean the same.
        fingerprint: SHA-256 in hex, the same if and only if model file and options are: if the same text
            becomes the same ids.
    """

    name: str
    special: SpecialTokens
    vocab_size: int
    model_fingerprint: str
    fingerprint: str

    @classmethod
    def load(cls, path: str | Path | None = None) -> Tokenizer:
        """Open a tokenizer of whichever kind the files are.

        Args:
            path: None or ``"bundled"`` for the tokenizer that comes with the package, a folder that
                holds ``tokenizer.model`` or ``ice_text.model`` (and usually ``tokenizer_config.json``),
                or one of these two files, read without a configuration. Any other file name is taken
                for a ``tokenizer.model``.

        Raises:
            DataError: it is missing, unusable, or does not fit the configuration beside it.
        """
        from glm130b.tokenization.load import load_tokenizer

        return load_tokenizer(path)

    @abstractmethod
    def save(self, folder: str | Path) -> None:
        """Write the model file and ``tokenizer_config.json`` into ``folder``, made if need be."""

    def check_fits(self, num_rows: int) -> None:
        """Refuse a model whose embedding has too few rows for these ids.

        Raises:
            DataError: with both numbers.
        """
        if self.vocab_size > num_rows:
            raise DataError(
                f"The tokenizer has {self.vocab_size} ids, the model's vocabulary only {num_rows} rows.",
                f"Use the model's own tokenizer, or set model.vocab_size to at least {self.vocab_size}.",
            )

    @abstractmethod
    def encode(self, text: str) -> list[int]:
        """Return the ids of ``text``; names of special tokens in it become ordinary pieces.

        Raises:
            DataError: the text holds half a surrogate pair, which is not a character.
        """

    def encode_batch(self, texts: Iterable[str]) -> list[list[int]]:
        """Return ``encode(text)`` for each text."""
        return [self.encode(text) for text in texts]

    def encode_with_blanks(self, text: str) -> list[int]:
        """Like ``encode``, but ``[MASK]``, ``[gMASK]`` and ``[sMASK]`` in the text become those tokens.

        The text before, between and after them is encoded part by part, as if each stood alone.

        Raises:
            DataError: as ``encode``.
        """
        blanks = {
            "[MASK]": self.special.mask,
            "[gMASK]": self.special.gmask,
            "[sMASK]": self.special.smask,
        }
        ids: list[int] = []
        for part in _BLANK.split(text):
            ids += [blanks[part]] if part in blanks else self.encode(part)
        return ids

    def decode(self, ids: Iterable[int], *, skip_special: bool = False) -> str:
        """Return the text of ``ids``; bytes that are not valid UTF-8 become U+FFFD.

        Args:
            ids: Python or NumPy integers.
            skip_special: leave special tokens out rather than print their names.

        Raises:
            DataError: an id is not in the vocabulary.
        """
        return b"".join(map(self._speller(skip_special), ids)).decode("utf-8", "replace")

    def stream_decoder(self, *, skip_special: bool = False) -> StreamDecoder:
        """Return a decoder for printing a text while it is generated."""
        return StreamDecoder(self, skip_special=skip_special)

    @abstractmethod
    def piece(self, token_id: int) -> str:
        """Return how one id looks: a special token's name, ``<0x0A>`` for a byte, a space as U+2581.

        Raises:
            DataError: the id is not in the vocabulary.
        """

    @abstractmethod
    def _speller(self, skip_special: bool) -> Callable[[int], bytes]:
        """Return a function that, called with each id of a text in turn, gives what the id adds in UTF-8.

        The bytes of one id may be cut inside a character.
        """

    def _no_such_id(self, token_id: int) -> DataError:
        return DataError(
            f"Token id {token_id} is not in the vocabulary (0 to {self.vocab_size - 1}).",
            "Use the tokenizer that the ids were made with.",
        )

    def _write(self, folder: str | Path, model_file: str, model: bytes, kind: str, **options: Any) -> None:
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        config = {
            "name": self.name,
            "type": kind,
            **options,
            "vocab_size": self.vocab_size,
            "special_tokens": asdict(self.special),
        }
        text = json.dumps(config, ensure_ascii=False, indent=2) + "\n"
        for file_name, content in ((model_file, model), (CONFIG_FILE, text.encode())):
            unfinished = folder / f".{file_name}.{os.getpid()}.tmp"
            unfinished.write_bytes(content)
            unfinished.replace(folder / file_name)


class StreamDecoder:
    """Decodes ids one at a time, holding back the bytes of a character until it is complete.

    What ``push`` and ``finish`` return, joined, is what ``Tokenizer.decode`` returns for the same ids.
    """

    def __init__(self, tokenizer: Tokenizer, *, skip_special: bool = False) -> None:
        self._tokenizer = tokenizer
        self._skip_special = skip_special
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._spell = tokenizer._speller(skip_special)

    def push(self, token_id: int) -> str:
        """Return the text that ``token_id`` completes, which may be empty.

        Raises:
            DataError: the id is not in the vocabulary.
        """
        return self._decoder.decode(self._spell(token_id))

    def skip(self, ids: Iterable[int]) -> None:
        """Take note of ids whose text is known already; what ``push`` returns next is what they are followed by.

        Raises:
            DataError: an id is not in the vocabulary.
        """
        for token_id in ids:
            self._spell(token_id)

    def finish(self) -> str:
        """Return what was held back (U+FFFD for an incomplete character) and start afresh."""
        rest = self._decoder.decode(b"", final=True)
        self._decoder.reset()
        self._spell = self._tokenizer._speller(self._skip_special)
        return rest


def open_processor(model: bytes, next_step: str) -> Any:
    """Open the bytes of a SentencePiece model file.

    Raises:
        DataError: they are something else; ``next_step`` is its second sentence.
    """
    from sentencepiece import SentencePieceProcessor

    processor = SentencePieceProcessor()
    try:
        processor.LoadFromSerializedProto(model)
    except RuntimeError as error:
        raise DataError("This is not a SentencePiece model.", next_step) from error
    return processor


def utf8(text: str) -> bytes:
    """Return the bytes of a text.

    Raises:
        DataError: the text holds half a surrogate pair, which is not a character.
    """
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"The text holds a lone surrogate, {error.object[error.start]!r}, which is no character.",
            "Read the text as UTF-8, or replace such code points.",
        ) from error
