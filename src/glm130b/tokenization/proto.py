"""Adding pieces to a SentencePiece model file without its protobuf classes.

A serialised message followed by more serialised fields is the merged message: repeated fields grow at
their end, single ones take the last value. So pieces are added by appending bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from enum import IntEnum

_PIECES, _TRAINER_SPEC = 1, 2  # fields of ModelProto
_PIECE, _SCORE, _TYPE = 1, 2, 3  # fields of ModelProto.SentencePiece
_BYTE_FALLBACK = 35  # field of TrainerSpec
_VARINT, _LENGTH_DELIMITED, _FIXED32 = 0, 2, 5  # wire types


class PieceType(IntEnum):
    """Kinds of pieces, as ``sentencepiece_model.proto`` numbers them."""

    CONTROL = 3
    """Never made out of text."""
    USER_DEFINED = 4
    """Found in text before anything else is."""
    BYTE = 6
    """Spells a character that no other piece holds."""


def with_pieces(model: bytes, pieces: Iterable[tuple[str, PieceType]]) -> bytes:
    """Return a serialised SentencePiece model with byte fallback and ``pieces`` after its last one.

    Args:
        model: bytes of a model file.
        pieces: strings and types; the byte pieces ``<0x00>`` to ``<0xFF>`` must be among them or in the
            model.
    """
    entries = b"".join(
        _message(
            _PIECES,
            _message(_PIECE, piece.encode())
            + _key(_SCORE, _FIXED32)
            + struct.pack("<f", 0.0)
            + _key(_TYPE, _VARINT)
            + _varint(kind),
        )
        for piece, kind in pieces
    )
    return model + entries + _message(_TRAINER_SPEC, _key(_BYTE_FALLBACK, _VARINT) + _varint(True))


def _message(field: int, content: bytes) -> bytes:
    return _key(field, _LENGTH_DELIMITED) + _varint(len(content)) + content


def _key(field: int, wire_type: int) -> bytes:
    return _varint(field << 3 | wire_type)


def _varint(number: int) -> bytes:
    low_first = bytearray()
    while number > 0x7F:
        low_first.append(number & 0x7F | 0x80)
        number >>= 7
    low_first.append(number)
    return bytes(low_first)
