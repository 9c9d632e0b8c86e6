"""Text to ids and back: the tokenizers, their special tokens, and training a new bilingual vocabulary."""

from __future__ import annotations

from glm130b.tokenization.exact import ExactTokenizer
from glm130b.tokenization.icetk import IceTokenizer
from glm130b.tokenization.spacing import wants_no_space
from glm130b.tokenization.special import SpecialTokens
from glm130b.tokenization.tokenizer import StreamDecoder, Tokenizer
from glm130b.tokenization.train import LabelledText, balanced_sample, train_tokenizer

__all__ = [
    "ExactTokenizer",
    "IceTokenizer",
    "LabelledText",
    "SpecialTokens",
    "StreamDecoder",
    "Tokenizer",
    "balanced_sample",
    "train_tokenizer",
    "wants_no_space",
]
