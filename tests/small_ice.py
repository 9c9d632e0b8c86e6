"""A small SentencePiece model that stands for the official ``ice_text.model``."""

from __future__ import annotations

import io

from sentencepiece import SentencePieceTrainer

LINES = [
    "Hello World! I am a tokenizer, and the quick brown fox jumps over the lazy dog.",
    "The cat sat on the mat: was it 2024 or 2019? Nobody knows; the dog does not.",
    "你好世界！这里是一个测试。今天天气很好，我们一起学习中文。",
    "Good morning 早上好, good night 晚安 … the answer is α.",
]


def small_ice_model(**options: object) -> bytes:
    model = io.BytesIO()
    defaults = {
        "model_type": "unigram",
        "vocab_size": 300,
        "hard_vocab_limit": False,
        "normalization_rule_name": "nmt_nfkc",
        "pad_id": 3,
        "user_defined_symbols": ["<n>"],
        "minloglevel": 2,
    }
    SentencePieceTrainer.train(sentence_iterator=iter(LINES * 5), model_writer=model, **(defaults | options))
    return model.getvalue()


MODEL = small_ice_model()
