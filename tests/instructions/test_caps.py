"""How many records a prompt takes, and which."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from glm130b.instructions.caps import quotas


@given(st.integers(1, 10**6), st.integers(1, 500))
def test_a_dataset_s_cap_is_divided(cap: int, num_prompts: int) -> None:
    shares = quotas(cap, "dataset", num_prompts)
    assert sum(shares) == cap
    assert max(shares) - min(shares) <= 1
    assert shares == sorted(shares, reverse=True)


@given(st.integers(1, 10**6), st.integers(1, 500))
def test_a_prompt_s_cap_is_its_own(cap: int, num_prompts: int) -> None:
    assert quotas(cap, "prompt", num_prompts) == [cap] * num_prompts
