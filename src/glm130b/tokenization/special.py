"""The special tokens of GLM."""

from __future__ import annotations

from dataclasses import dataclass

NUM_SPECIAL_TOKENS = 8
"""Those that are not pieces: all but eos."""


@dataclass(frozen=True)
class SpecialTokens:
    """The ids of the special tokens, all of which ``Tokenizer.encode`` never makes out of text."""

    mask: int
    gmask: int
    smask: int
    eod: int
    sop: int
    eop: int
    enc: int
    dblock: int
    eos: int

    def names(self) -> dict[int, str]:
        """Map each id to the name it prints as: blanks as typed, ``[MASK]``, the rest like ``<sop>``."""
        return {
            self.mask: "[MASK]",
            self.gmask: "[gMASK]",
            self.smask: "[sMASK]",
            self.eod: "<eod>",
            self.sop: "<sop>",
            self.eop: "<eop>",
            self.enc: "<ENC>",
            self.dblock: "<dBLOCK>",
            self.eos: "</s>",
        }
