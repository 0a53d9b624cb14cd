"""The table of the floor: every state, every cue, no empty cell."""

from __future__ import annotations

import itertools

import pytest

from fastbridge.talk import INSTANT, REVERSIBLE, TABLES, Act, Cue, State


@pytest.mark.parametrize("mode", TABLES)
def test_every_cell_is_filled(mode: str) -> None:
    """Each state answers each cue: nothing that happens is undefined."""
    table = TABLES[mode]
    for state, cue in itertools.product(State, Cue):
        assert table[state][cue] in Act


def test_only_the_reversible_mode_holds() -> None:
    """`instant` and `server` never wait: where reversible holds, they commit."""
    for state, cue in itertools.product(State, Cue):
        act = REVERSIBLE[state][cue]
        assert INSTANT[state][cue] is (Act.COMMIT if act is Act.HOLD else act)


def test_a_commit_or_a_resume_never_comes_out_of_silence() -> None:
    """With nothing to interrupt nothing is interrupted, and nothing can go on."""
    acts = set(REVERSIBLE[State.SILENT].values())
    assert acts & {Act.COMMIT, Act.RESUME, Act.HOLD, Act.PARK} == set()


def test_only_a_held_answer_is_resumed_or_waited_with() -> None:
    """RESUME, WAIT and CHOOSE need a hold."""
    for state in (State.SILENT, State.PENDING, State.PLAYING):
        assert set(REVERSIBLE[state].values()) & {Act.RESUME, Act.WAIT, Act.CHOOSE} == set()
