"""The GLM transformer as plain single-device PyTorch."""

from glm130b.model.attention import visible
from glm130b.model.cache import KVCache
from glm130b.model.glm import GLM, LINEAR_NAMES
from glm130b.model.init import build_model, init_parameters

__all__ = ["GLM", "LINEAR_NAMES", "KVCache", "build_model", "init_parameters", "visible"]
