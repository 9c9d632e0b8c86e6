"""Differences that an experiment would have found: 80 % power, two-sided tests at 5 %."""

from __future__ import annotations

import math

from glm130b.evaluation.statistics.distributions import normal_quantile

_LEVEL = normal_quantile(0.975)
_POWER = normal_quantile(0.8)
_FEWEST = 6
"""Discordant pairs without which the exact test cannot reach 5 %: 2 · 0.5^6 is 0.03, 2 · 0.5^5 is 0.06."""


def effect_of_error(error: float) -> float:
    """The smallest difference found if its estimate has this standard error."""
    return (_LEVEL + _POWER) * error


def effect_unpaired(share: float, count: float) -> float:
    """The smallest difference found between two shares near ``share``, each of ``count`` independent questions."""
    return effect_of_error(math.sqrt(2 * share * (1 - share) / count))


def effect_paired(discordant: int, count: int) -> float:
    """The smallest difference found between two shares of the same questions.

    From Connor's number of pairs, (z_a sqrt(d) + z_b sqrt(d - e²))² / e² for discordance d and effect e (Biometrics
    43, 1987), solved for e.

    Args:
        discordant: questions that only one of the two answers right, which says how often they differ.
    """
    rate = max(discordant, _FEWEST) / count
    slope = _LEVEL * math.sqrt(rate * count)
    square = count + _POWER**2
    root = slope**2 - square * rate * (_LEVEL**2 - _POWER**2)
    return max((slope + math.sqrt(max(0.0, root))) / square, _FEWEST / count)
