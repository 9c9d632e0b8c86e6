"""What every part of a settings tree is made of."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from glm130b.config.units import Count, Share

Positive = Annotated[Count, Field(gt=0)]
NonNegative = Annotated[Count, Field(ge=0)]
Probability = Annotated[Share, Field(ge=0, le=1)]


class Section(BaseModel):
    """A branch of the tree: frozen, and closed to unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
