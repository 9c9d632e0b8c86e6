"""Datasets and prompt templates to tokenised instruction examples (multi-task instruction pre-training)."""

from glm130b.instructions.build import build
from glm130b.instructions.check import Finding, check_recipe
from glm130b.instructions.prompts import Prompt, RenderError, load_prompts
from glm130b.instructions.render import Rendered, Renderer
from glm130b.instructions.show import show_recipe, show_store
from glm130b.instructions.store import Example, InstructionStore, seen_tasks
from glm130b.instructions.triples import format_triples, parse_triples

__all__ = [
    "Example",
    "Finding",
    "InstructionStore",
    "Prompt",
    "RenderError",
    "Rendered",
    "Renderer",
    "build",
    "check_recipe",
    "format_triples",
    "load_prompts",
    "parse_triples",
    "seen_tasks",
    "show_recipe",
    "show_store",
]
