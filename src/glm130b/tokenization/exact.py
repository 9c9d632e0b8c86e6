"""Text to ids and back, exactly: a SentencePiece vocabulary with byte fallback plus GLM's special tokens.

With P pieces, ids 0..P-1 are SentencePiece's and P..P+7 are ``[MASK] [gMASK] [sMASK] eod sop eop ENC
dBLOCK``; the end-of-sentence token is the piece ``</s>``. ``decode(encode(text)) == text`` holds for
every text.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable
from pathlib import Path

from glm130b.errors import DataError
from glm130b.tokenization.special import NUM_SPECIAL_TOKENS, SpecialTokens
from glm130b.tokenization.tokenizer import RETRAIN, SPACE_MARK, Tokenizer, open_processor, utf8

MODEL_FILE = "tokenizer.model"

# No piece reaches across the end of a run of newlines, so cutting there changes no id and keeps
# SentencePiece's working memory small. Space marks in the text are cut out to be written by their bytes.
_STRETCH = re.compile(f"[^\n{SPACE_MARK}]+\n*|\n+|{SPACE_MARK}")
_PROBE = " a  b\tc \n\n d\r\n\u3000\uff0c\uff21\u2460\ufb01e\u0301\u00e9\u4e2d\u6587 "
_RETRAIN_OR_RENAME = f"{RETRAIN} If it is the icetk model of the official GLM-130B, name it ice_text.model."


class ExactTokenizer(Tokenizer):
    """A SentencePiece model with byte fallback and identity normalisation, plus the special tokens.

    ``decode`` prints special tokens as ``SpecialTokens.names`` does. The fingerprint is the SHA-256 of
    the model file's bytes.
    """

    def __init__(self, model: bytes, name: str = "unnamed") -> None:
        """Open the bytes of a SentencePiece model file.

        Raises:
            DataError: not a SentencePiece model, no byte fallback, no ``</s>``, or it changes the text.
        """
        self.name = name
        self.model_fingerprint = self.fingerprint = hashlib.sha256(model).hexdigest()
        self._model = model
        self._processor = open_processor(model, RETRAIN)
        num_pieces = len(self._processor)
        self.vocab_size = num_pieces + NUM_SPECIAL_TOKENS
        eos = self._processor.piece_to_id("</s>")
        if not self._processor.is_control(eos):
            raise DataError("The SentencePiece model has no control piece </s>.", RETRAIN)
        self.special = SpecialTokens(*(*range(num_pieces, self.vocab_size), eos))

        self._bytes = {token_id: self._piece_bytes(token_id) for token_id in range(num_pieces)}
        self._plain_bytes = self._bytes | dict.fromkeys(self.special.names(), b"")
        self._bytes |= {token_id: name.encode() for token_id, name in self.special.names().items()}
        byte_ids = [i for i in range(num_pieces) if self._processor.is_byte(i)]
        if len(byte_ids) != 256:
            raise DataError("The SentencePiece model has no byte fallback.", _RETRAIN_OR_RENAME)
        id_of_byte = {self._bytes[i]: i for i in byte_ids}
        self._space_mark_ids = [id_of_byte[bytes([byte])] for byte in SPACE_MARK.encode()]
        if self.decode(self.encode(_PROBE)) != _PROBE:
            raise DataError(
                "The SentencePiece model changes the text it encodes (it normalises it or adds a space).",
                _RETRAIN_OR_RENAME,
            )

    def save(self, folder: str | Path) -> None:
        """Write ``tokenizer.model`` and ``tokenizer_config.json`` into ``folder``, made if need be."""
        self._write(folder, MODEL_FILE, self._model, "sentencepiece")

    def encode(self, text: str) -> list[int]:
        """Return the ids of ``text``; names of special tokens in it become ordinary pieces.

        Raises:
            DataError: the text holds half a surrogate pair, which is not a character.
        """
        encode_stretch = self._processor.EncodeAsIds
        ids: list[int] = []
        for stretch in _STRETCH.findall(text):
            ids += self._space_mark_ids if stretch == SPACE_MARK else encode_stretch(utf8(stretch))
        return ids

    def to_bytes(self, ids: Iterable[int], *, skip_special: bool = False) -> bytes:
        """Return what ``decode`` decodes: the UTF-8 bytes of ``ids``, possibly cut inside a character.

        Raises:
            DataError: an id is not in the vocabulary.
        """
        table = self._plain_bytes if skip_special else self._bytes
        try:
            return b"".join([table[token_id] for token_id in ids])
        except KeyError as error:
            raise self._no_such_id(error.args[0]) from error

    def decode(self, ids: Iterable[int], *, skip_special: bool = False) -> str:
        """Return the text of ``ids``; see ``Tokenizer.decode``."""
        return self.to_bytes(ids, skip_special=skip_special).decode("utf-8", "replace")

    def piece(self, token_id: int) -> str:
        """Return how one id looks; see ``Tokenizer.piece``."""
        printed = self.to_bytes([token_id])
        if token_id in self.special.names():
            return printed.decode()
        return str(self._processor.id_to_piece(int(token_id)))

    def _speller(self, skip_special: bool) -> Callable[[int], bytes]:
        return lambda token_id: self.to_bytes([token_id], skip_special=skip_special)

    def _piece_bytes(self, token_id: int) -> bytes:
        piece: str = self._processor.id_to_piece(token_id)
        if self._processor.is_byte(token_id):
            return bytes([int(piece[3:5], 16)])
        if self._processor.is_control(token_id) or self._processor.is_unknown(token_id):
            return piece.encode()
        return piece.replace(SPACE_MARK, " ").encode()
