"""Every reader of data files, by the name that task files use."""

from glm130b.evaluation.readers import (  # noqa: F401  each enters its readers
    ada_leval,
    bigbench,
    c3,
    closed_book,
    clue,
    crows_pairs,
    ethos,
    gem,
    glue,
    language,
    mc_taco,
    mmlu,
    multiple_choice,
    plain,
    squad_style,
    stereoset,
    superglue,
    toxicity_prompts,
    winograd,
)
from glm130b.evaluation.readers.reader import READERS, Reader, malformed, reader

__all__ = ["READERS", "Reader", "malformed", "reader"]
