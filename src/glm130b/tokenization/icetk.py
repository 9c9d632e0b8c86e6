"""icetk, the tokenizer of the official GLM-130B: 20000 image ids, SentencePiece's pieces, special tokens.

The model file ``ice_text.model`` is the authors' and does not come with this package. Two generations of
their code read it: the one GLM-130B was trained and published with (SwissArmyTransformer 0.2), and later
releases, which add ids for tabs, runs of spaces and bytes after the special tokens.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from glm130b.errors import DataError
from glm130b.tokenization.proto import PieceType, with_pieces
from glm130b.tokenization.special import NUM_SPECIAL_TOKENS, SpecialTokens
from glm130b.tokenization.tokenizer import SPACE_MARK, Tokenizer, open_processor, utf8

MODEL_FILE = "ice_text.model"
OPTIONS = ("newlines", "generation", "dummy_prefix")
"""Keys of ``tokenizer_config.json`` that are arguments of ``IceTokenizer``."""

_FIRST_PIECE, _FIRST_SPECIAL = 20000, 150000
_FIRST_AFTER_SPECIAL = _FIRST_SPECIAL + NUM_SPECIAL_TOKENS
_MAX_PIECES = _FIRST_SPECIAL - _FIRST_PIECE
_EOS_INDEX = 2
_SPECIAL = SpecialTokens(*(*range(_FIRST_SPECIAL, _FIRST_AFTER_SPECIAL), _FIRST_PIECE + _EOS_INDEX))

_NEWLINE, _TAB = "<n>", "<|tab|>"
_BLANKS = {f"<|blank_{length}|>": " " * length for length in range(2, 81)}
_WHITESPACE = {_NEWLINE: "\n", _TAB: "\t", **_BLANKS}
_SPACES = re.compile(" {2,80}")
_ADDED = [
    *((name, PieceType.CONTROL) for token_id, name in _SPECIAL.names().items() if token_id != _SPECIAL.eos),
    *((piece, PieceType.USER_DEFINED) for piece in (_TAB, *_BLANKS)),
    *((f"<0x{byte:02X}>", PieceType.BYTE) for byte in range(256)),
]
_USE_OFFICIAL = "Use the ice_text.model that the official GLM-130B's tokenizer downloads."


class IceTokenizer(Tokenizer):
    """The ids and rules of icetk.

    An id is 20000 plus the index of a SentencePiece piece, one of the special tokens 150000 to 150007,
    or an image id below 20000, which text never becomes. SentencePiece normalises text (full-width
    letters and marks to ASCII, runs of spaces to one) and puts a space before it, so ``decode`` need
    not give back what was encoded.

    Generation 1 takes the text as it is, apart from newlines. Generation 2 turns a newline, a tab and
    each run of 2 to 80 spaces into the pieces ``<n>``, ``<|tab|>`` and ``<|blank_2|>`` to
    ``<|blank_80|>``, and spells unknown characters in bytes. There, with newlines as pieces,
    ``decode(encode(text)) == text`` holds if the model's normalisation (NFKC, by all signs) leaves ``text``
    alone and it has

    - no other white space, no control, format or unassigned characters, no U+2581 and no U+FFFD,
    - no single space at its beginning, and at its end no run of spaces of a length 1 modulo 80,
    - no names of pieces: a typed ``<n>``, ``<|tab|>`` or ``<|blank_2|>`` is read as what it stands for,
      as the later releases did (and ``<n>`` also by generation 1).

    ``decode`` decodes each stretch between special tokens by itself, dropping the space put before it,
    and prints special tokens in brackets: ``[[MASK]]``, ``[sop]``, ``[eod]``. The padding id 0 prints as
    ``[pad]``, ``</s>`` as nothing; ``[image 123]`` for other image ids is this package's own choice.
    ``skip_special`` leaves all of these out.

    ``fingerprint`` is ``model_fingerprint`` unless an option is not the default.
    """

    def __init__(
        self,
        model: bytes,
        *,
        newlines: Literal["space", "piece"] | None = None,
        generation: Literal[1, 2] = 1,
        dummy_prefix: bool = True,
        name: str = "icetk",
    ) -> None:
        """Open the bytes of ``ice_text.model``.

        Args:
            newlines: what a newline in a text becomes, a space or the piece ``<n>``; None for what the
                generation does by itself, 1 the former and 2 the latter. ``decode`` turns ``<n>`` into a
                newline either way.
            generation: 1 for the GLM-130B as published, 2 for later releases.
            dummy_prefix: put a space before every text; leaving it out is an option of later releases
                and needs the piece ``<n>``.

        Raises:
            DataError: not a SentencePiece model, more than 130000 pieces, ``</s>`` is not the third, a
                piece that the options need is missing or one that they add is there, or an option has
                no such value.
        """
        known = newlines in (None, "space", "piece") and generation in (1, 2) and type(generation) is int
        if not known or not isinstance(dummy_prefix, bool):
            raise DataError(
                f"newlines={newlines!r}, generation={generation!r}, dummy_prefix={dummy_prefix!r} is not possible.",
                "Choose 'space' or 'piece', 1 or 2, true or false, as arguments or in tokenizer_config.json.",
            )
        self.name = name
        self.newlines = newlines or ("space" if generation == 1 else "piece")
        self.generation = generation
        self.dummy_prefix = dummy_prefix
        self.special = _SPECIAL
        self.vocab_size = _FIRST_AFTER_SPECIAL if generation == 1 else _FIRST_SPECIAL + len(_ADDED)
        self.model_fingerprint = hashlib.sha256(model).hexdigest()
        self.fingerprint = _fingerprint(model, self.newlines, generation, dummy_prefix)
        self._model = model
        self._processor = open_processor(model, _USE_OFFICIAL)
        self._num_pieces = len(self._processor)
        self._check_pieces()
        if generation == 2:
            self._processor = open_processor(with_pieces(model, _ADDED), _USE_OFFICIAL)
        space = self._processor.piece_to_id(SPACE_MARK)
        self._drops_all_spaces = self._processor.decode([space, space]) == ""
        self._dummy = [_FIRST_PIECE + space, _FIRST_PIECE + self._processor.piece_to_id(_NEWLINE)]
        self._bytes: dict[int, bytes] = {}

    def save(self, folder: str | Path) -> None:
        """Write ``ice_text.model`` and ``tokenizer_config.json`` into ``folder``, made if need be."""
        self._write(folder, MODEL_FILE, self._model, "icetk", **{key: getattr(self, key) for key in OPTIONS})

    def encode(self, text: str) -> list[int]:
        """Return the ids of ``text``, all of them of pieces.

        Raises:
            DataError: the text holds half a surrogate pair, or the dummy prefix cannot be left out.
        """
        if self.generation == 2:
            text = _SPACES.sub(lambda run: f"<|blank_{len(run[0])}|>", text.replace("\t", _TAB))
        text = text.replace("\n", " " if self.newlines == "space" else _NEWLINE)
        if not self.dummy_prefix:
            text = _NEWLINE + text
        added = _FIRST_SPECIAL - self._num_pieces
        ids = [
            index + (_FIRST_PIECE if index < self._num_pieces else added)
            for index in self._processor.EncodeAsIds(utf8(text))
        ]
        if self.dummy_prefix:
            return ids
        if ids[:2] != self._dummy:
            raise DataError(
                f"A text after {_NEWLINE} does not begin with a space and that piece, so they cannot be taken off.",
                "Leave dummy_prefix on with this SentencePiece model.",
            )
        return ids[2:]

    def piece(self, token_id: int) -> str:
        """Return how one id looks: a piece as SentencePiece writes it, or a special token's name.

        Raises:
            DataError: the id is not in the vocabulary.
        """
        if token_id in self.special.names():
            return self.special.names()[token_id]
        return self._bracketed(token_id) or str(self._processor.id_to_piece(self._index(token_id)))

    def _speller(self, skip_special: bool) -> Callable[[int], bytes]:
        at_start = True

        def spell(token_id: int) -> bytes:
            nonlocal at_start
            if name := self._bracketed(token_id):
                at_start = True
                return b"" if skip_special else name.encode()
            piece = self._piece_bytes(token_id)
            if at_start:
                without_space = piece.removeprefix(SPACE_MARK.encode())
                at_start = without_space == b"" and (piece == b"" or self._drops_all_spaces)
                piece = without_space
            return piece.replace(SPACE_MARK.encode(), b" ")

        return spell

    def _bracketed(self, token_id: int) -> str | None:
        if 0 <= token_id < _FIRST_PIECE:
            return f"[image {token_id}]" if token_id else "[pad]"
        if _FIRST_SPECIAL <= token_id < _FIRST_AFTER_SPECIAL:
            return f"[{self.special.names()[token_id].strip('<>')}]"
        return None

    def _index(self, token_id: int) -> int:
        if _FIRST_PIECE <= token_id < _FIRST_PIECE + self._num_pieces:
            return int(token_id) - _FIRST_PIECE
        if _FIRST_AFTER_SPECIAL <= token_id < self.vocab_size:
            return int(token_id) - _FIRST_SPECIAL + self._num_pieces
        raise self._no_such_id(token_id)

    def _piece_bytes(self, token_id: int) -> bytes:
        """What an id other than the bracketed ones stands for, with U+2581 for spaces that may be dropped."""
        if token_id not in self._bytes:
            index = self._index(token_id)
            piece: str = self._processor.id_to_piece(index)
            if self._processor.is_byte(index):
                self._bytes[token_id] = bytes([int(piece[3:5], 16)])
            elif self._processor.is_control(index) or self._processor.is_unknown(index):
                self._bytes[token_id] = self._processor.decode([index]).encode()
            else:
                self._bytes[token_id] = _WHITESPACE.get(piece, piece).encode()
        return self._bytes[token_id]

    def _check_pieces(self) -> None:
        if self._num_pieces > _MAX_PIECES:
            raise DataError(
                f"The SentencePiece model has {self._num_pieces} pieces, icetk at most {_MAX_PIECES}.", _USE_OFFICIAL
            )
        if self._processor.piece_to_id("</s>") != _EOS_INDEX or not self._processor.is_control(_EOS_INDEX):
            raise DataError(f"The SentencePiece model has no control piece </s> at {_EOS_INDEX}.", _USE_OFFICIAL)
        if (self.newlines == "piece" or not self.dummy_prefix) and not self._has(_NEWLINE):
            raise DataError(
                f"The SentencePiece model has no piece {_NEWLINE}, which newlines 'piece' and no dummy prefix need.",
                f"{_USE_OFFICIAL} Or set newlines to 'space' and dummy_prefix to true.",
            )
        if self.generation == 2 and (taken := [piece for piece, _ in _ADDED if self._has(piece)]):
            raise DataError(f"The SentencePiece model has a piece {taken[0]}, which generation 2 adds.", _USE_OFFICIAL)

    def _has(self, piece: str) -> bool:
        return bool(self._processor.id_to_piece(self._processor.piece_to_id(piece)) == piece)


def _fingerprint(model: bytes, newlines: str, generation: int, dummy_prefix: bool) -> str:
    options = [newlines, generation, dummy_prefix]
    suffix = b"" if options == ["space", 1, True] else json.dumps(options).encode()
    return hashlib.sha256(model + suffix).hexdigest()
