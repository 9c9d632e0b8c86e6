"""GLM-130B in the open: an English-Chinese model pre-trained by autoregressive blank infilling.

``glm130b.load(path)`` opens a model folder; everything else lives in the rooms named in
``docs/architecture.md``. Importing this package imports neither torch nor sentencepiece.
"""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"
__all__ = ["__version__", "load"]


def __getattr__(name: str) -> Any:
    if name == "load":
        from glm130b.interop import load

        return load
    raise AttributeError(f"module 'glm130b' has no attribute {name!r}")
