"""How many records a prompt takes, and which."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from glm130b.instructions.order import permute, quotas


@given(st.integers(1, 10**6), st.integers(1, 500))
def test_a_dataset_s_cap_is_divided(cap: int, num_prompts: int) -> None:
    shares = quotas(cap, "dataset", num_prompts)
    assert sum(shares) == cap
    assert max(shares) - min(shares) <= 1
    assert shares == sorted(shares, reverse=True)


@given(st.integers(1, 10**6), st.integers(1, 500))
def test_a_prompt_s_cap_is_its_own(cap: int, num_prompts: int) -> None:
    assert quotas(cap, "prompt", num_prompts) == [cap] * num_prompts


@given(st.integers(1, 300), st.text(max_size=5))
def test_every_record_is_taken_once(size: int, seed: str) -> None:
    assert sorted(permute(rank, size, seed) for rank in range(size)) == list(range(size))


def test_large_numbers_and_other_seeds() -> None:
    size = 10**12 + 7
    taken = [permute(rank, size, "a") for rank in range(1000)]
    assert len(set(taken)) == 1000
    assert all(0 <= number < size for number in taken)
    assert sum(number < size // 2 for number in taken) in range(420, 580)
    assert taken != [permute(rank, size, "b") for rank in range(1000)]
