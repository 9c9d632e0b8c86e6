"""What can go wrong for a user, one class for each exit code.

Every error is one sentence that says what is wrong and where, and one that says what to do next. The
command line prints both and ends with the class's ``exit_code``; anything that is not a ``GLMError`` is
a bug and keeps its traceback.
"""

from __future__ import annotations


class GLMError(Exception):
    """A problem the user can solve.

    Args:
        problem: one sentence: what is wrong, and where (file, key, line).
        next_step: one sentence: what to do about it.
    """

    exit_code = 1

    def __init__(self, problem: str, next_step: str = "") -> None:
        self.problem = problem
        self.next_step = next_step
        super().__init__(f"{problem} {next_step}".strip())


class ConfigError(GLMError):
    """A configuration that cannot be read, is not valid, or asks for what this version does not do."""

    exit_code = 3


class DataError(GLMError):
    """Text, token shards or a tokenizer that are missing, empty, malformed or do not fit the model."""

    exit_code = 4


class ModelError(GLMError):
    """A model folder or checkpoint that is missing, incomplete, damaged or does not fit the request."""

    exit_code = 5


class ResourceError(GLMError):
    """The machine has too little disk, memory or no such device."""

    exit_code = 6
