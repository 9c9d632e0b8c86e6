"""Text to ids and back, exactly: a SentencePiece vocabulary with byte fallback plus GLM's special tokens.

With P pieces, ids 0..P-1 are SentencePiece's and P..P+7 are ``[MASK] [gMASK] [sMASK] eod sop eop ENC
dBLOCK``; the end-of-sentence token is the piece ``</s>``. ``decode(encode(text)) == text`` holds for
every text.
"""

from __future__ import annotations

import codecs
import hashlib
import json
import os
import re
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from glm130b.errors import DataError
from glm130b.tokenization.special import NUM_SPECIAL_TOKENS, SpecialTokens

MODEL_FILE = "tokenizer.model"
CONFIG_FILE = "tokenizer_config.json"
BUNDLED_FOLDER = Path(__file__).parent / "bundled"

_SPACE_MARK = "\u2581"  # how SentencePiece writes a space inside a piece
_BLANK = re.compile(r"(\[MASK\]|\[gMASK\]|\[sMASK\])")
# No piece reaches across the end of a run of newlines, so cutting there changes no id and keeps
# SentencePiece's working memory small. Space marks in the text are cut out to be written by their bytes.
_STRETCH = re.compile(f"[^\n{_SPACE_MARK}]+\n*|\n+|{_SPACE_MARK}")
_PROBE = " a  b\tc \n\n d\r\n\u3000\uff0c\uff21\u2460\ufb01e\u0301\u00e9\u4e2d\u6587 "
_RETRAIN = "Train one with `glm tokenizer train`."


class StreamDecoder:
    """Decodes ids one at a time, holding back the bytes of a character until it is complete.

    What ``push`` and ``finish`` return, joined, is what ``Tokenizer.decode`` returns for the same ids.
    """

    def __init__(self, tokenizer: Tokenizer, *, skip_special: bool = False) -> None:
        self._tokenizer = tokenizer
        self._skip_special = skip_special
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token_id: int) -> str:
        """Return the text that ``token_id`` completes, which may be empty.

        Raises:
            DataError: the id is not in the vocabulary.
        """
        return self._decoder.decode(self._tokenizer.to_bytes([token_id], skip_special=self._skip_special))

    def finish(self) -> str:
        """Return what was held back (U+FFFD for an incomplete character) and start afresh."""
        rest = self._decoder.decode(b"", final=True)
        self._decoder.reset()
        return rest


class Tokenizer:
    """A SentencePiece model with byte fallback and identity normalisation, plus the special tokens.

    Attributes:
        name: what ``tokenizer_config.json`` calls it.
        special: the ids of the special tokens.
        vocab_size: number of ids, the eight special ones included.
        fingerprint: SHA-256 of the model file's bytes, in hex.
    """

    def __init__(self, model: bytes, name: str = "unnamed") -> None:
        """Open the bytes of a SentencePiece model file.

        Raises:
            DataError: not a SentencePiece model, no byte fallback, no ``</s>``, or it changes the text.
        """
        self.name = name
        self.fingerprint = hashlib.sha256(model).hexdigest()
        self._model = model
        self._processor = _open_processor(model)
        num_pieces = len(self._processor)
        self.vocab_size = num_pieces + NUM_SPECIAL_TOKENS
        eos = self._processor.piece_to_id("</s>")
        if not self._processor.is_control(eos):
            raise DataError("The SentencePiece model has no control piece </s>.", _RETRAIN)
        self.special = SpecialTokens(*(*range(num_pieces, self.vocab_size), eos))

        self._bytes = {token_id: self._piece_bytes(token_id) for token_id in range(num_pieces)}
        self._plain_bytes = self._bytes | dict.fromkeys(self.special.names(), b"")
        self._bytes |= {token_id: name.encode() for token_id, name in self.special.names().items()}
        byte_ids = [i for i in range(num_pieces) if self._processor.is_byte(i)]
        if len(byte_ids) != 256:
            raise DataError("The SentencePiece model has no byte fallback.", _RETRAIN)
        id_of_byte = {self._bytes[i]: i for i in byte_ids}
        self._space_mark_ids = [id_of_byte[bytes([byte])] for byte in _SPACE_MARK.encode()]
        if self.decode(self.encode(_PROBE)) != _PROBE:
            raise DataError(
                "The SentencePiece model changes the text it encodes (it normalises it or adds a space).",
                _RETRAIN,
            )

    @classmethod
    def load(cls, path: str | Path | None = None) -> Tokenizer:
        """Open a tokenizer.

        Args:
            path: None or ``"bundled"`` for the tokenizer that comes with the package, a folder that
                holds ``tokenizer.model`` (and usually ``tokenizer_config.json``), or a ``.model`` file.

        Raises:
            DataError: it is missing, unusable, or does not fit the configuration beside it.
        """
        place = BUNDLED_FOLDER if path is None or str(path) == "bundled" else Path(path)
        config = _read_config(place / CONFIG_FILE) if place.is_dir() else {}
        model_file = place / MODEL_FILE if place.is_dir() else place
        try:
            model = model_file.read_bytes()
        except OSError as error:
            raise DataError(
                f"There is no tokenizer at {model_file} ({error.strerror}).",
                f"Give a folder that holds {MODEL_FILE}, or leave it out to use the bundled tokenizer.",
            ) from error
        try:
            tokenizer = cls(model, name=str(config.get("name", place.stem)))
        except DataError as error:
            raise DataError(f"{model_file}: {error.problem}", error.next_step) from error
        expected = config.get("vocab_size", tokenizer.vocab_size)
        if expected != tokenizer.vocab_size:
            raise DataError(
                f"{place / CONFIG_FILE} says vocab_size {expected}, {MODEL_FILE} has {tokenizer.vocab_size}.",
                "The two files belong to different tokenizers; copy both from the same one.",
            )
        return tokenizer

    def save(self, folder: str | Path) -> None:
        """Write ``tokenizer.model`` and ``tokenizer_config.json`` into ``folder``, made if need be."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        config = {
            "name": self.name,
            "type": "sentencepiece",
            "vocab_size": self.vocab_size,
            "special_tokens": asdict(self.special),
        }
        text = json.dumps(config, ensure_ascii=False, indent=2) + "\n"
        for file_name, content in ((MODEL_FILE, self._model), (CONFIG_FILE, text.encode())):
            unfinished = folder / f".{file_name}.{os.getpid()}.tmp"
            unfinished.write_bytes(content)
            unfinished.replace(folder / file_name)

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

    def encode(self, text: str) -> list[int]:
        """Return the ids of ``text``; names of special tokens in it become ordinary pieces.

        Raises:
            DataError: the text holds half a surrogate pair, which is not a character.
        """
        encode_stretch = self._processor.EncodeAsIds
        ids: list[int] = []
        try:
            for stretch in _STRETCH.findall(text):
                ids += self._space_mark_ids if stretch == _SPACE_MARK else encode_stretch(stretch.encode())
        except UnicodeEncodeError as error:
            raise DataError(
                f"The text holds a lone surrogate, {error.object[error.start]!r}, which is no character.",
                "Read the text as UTF-8, or replace such code points.",
            ) from error
        return ids

    def encode_batch(self, texts: Iterable[str]) -> list[list[int]]:
        """Return ``encode(text)`` for each text."""
        return [self.encode(text) for text in texts]

    def encode_with_blanks(self, text: str) -> list[int]:
        """Like ``encode``, but ``[MASK]``, ``[gMASK]`` and ``[sMASK]`` in the text become those tokens.

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
            skip_special: leave special tokens out rather than print their names
                (see ``SpecialTokens.names``).

        Raises:
            DataError: an id is not in the vocabulary.
        """
        return self.to_bytes(ids, skip_special=skip_special).decode("utf-8", "replace")

    def stream_decoder(self, *, skip_special: bool = False) -> StreamDecoder:
        """Return a decoder for printing a text while it is generated."""
        return StreamDecoder(self, skip_special=skip_special)

    def to_bytes(self, ids: Iterable[int], *, skip_special: bool = False) -> bytes:
        """Return what ``decode`` decodes: the UTF-8 bytes of ``ids``, possibly cut inside a character.

        Raises:
            DataError: an id is not in the vocabulary.
        """
        table = self._plain_bytes if skip_special else self._bytes
        try:
            return b"".join([table[token_id] for token_id in ids])
        except KeyError as error:
            raise DataError(
                f"Token id {error.args[0]} is not in the vocabulary (0 to {self.vocab_size - 1}).",
                "Use the tokenizer that the ids were made with.",
            ) from error

    def piece(self, token_id: int) -> str:
        """Return how one id looks: a special token's name, ``<0x0A>`` for a byte, a space as U+2581.

        Raises:
            DataError: the id is not in the vocabulary.
        """
        printed = self.to_bytes([token_id])
        if token_id in self.special.names():
            return printed.decode()
        return str(self._processor.id_to_piece(int(token_id)))

    def _piece_bytes(self, token_id: int) -> bytes:
        piece: str = self._processor.id_to_piece(token_id)
        if self._processor.is_byte(token_id):
            return bytes([int(piece[3:5], 16)])
        if self._processor.is_control(token_id) or self._processor.is_unknown(token_id):
            return piece.encode()
        return piece.replace(_SPACE_MARK, " ").encode()


def _open_processor(model: bytes) -> Any:
    from sentencepiece import SentencePieceProcessor

    processor = SentencePieceProcessor()
    try:
        processor.LoadFromSerializedProto(model)
    except RuntimeError as error:
        raise DataError("This is not a SentencePiece model.", _RETRAIN) from error
    return processor


def _read_config(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as JSON ({error}).", "Copy the file anew.") from error
    if not isinstance(config, dict):
        raise DataError(f"{path} does not hold a JSON object.", "Copy the file anew.")
    return config
