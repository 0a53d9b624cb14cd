"""The latest few of something."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fastbridge.latest import Latest

ADDED = st.lists(st.one_of(st.integers(), st.lists(st.integers(), max_size=9)), max_size=30)


@given(st.integers(1, 6), ADDED)
def test_the_oldest_are_forgotten(most: int, added: list[int | list[int]]) -> None:
    """However they come, the latest `most` are kept, in their order."""
    one: Latest[int] = Latest(most)
    whole: list[int] = []
    for each in added:
        if isinstance(each, list):
            one.extend(each)
            whole += each
        else:
            one.append(each)
            whole.append(each)
        assert list(one) == whole[-most:]
