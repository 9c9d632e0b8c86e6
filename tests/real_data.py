"""Official files of public test sets, which cannot be passed on with this project."""

from __future__ import annotations

from pathlib import Path

import pytest

REAL = Path(__file__).parents[2] / "shared" / "eval-data"
"""In the layout that ``glm eval run --data`` reads."""

needs_real = pytest.mark.skipif(
    not REAL.is_dir(),
    reason="needs official test sets, whose licences do not let them lie here: put them into ../shared/eval-data",
)
