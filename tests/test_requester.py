"""The single slot: one answer at a time, none from before an interruption."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from fastbridge.requester import AI_TALK, GREETING, REQUEST_PATIENCE_NS, Ask, Requester, Slot

TURN = Ask(AI_TALK)


def requested() -> Requester:
    one = Requester()
    assert one.ask(TURN, 0) == 0
    return one


def active() -> Requester:
    one = requested()
    assert one.created("r0", 0, 0)
    return one


def cancelling() -> Requester:
    one = active()
    assert one.withdraw(0) == "r0"
    return one


def dead_request() -> Requester:
    one = requested()
    assert one.withdraw(0) is None
    return one


def occupied() -> Requester:
    one = requested()
    one.occupied(0, 0)
    return one


STATES: list[Callable[[], Requester]] = [
    Requester,
    requested,
    active,
    cancelling,
    dead_request,
    occupied,
]
CUES: dict[str, Callable[[Requester], object]] = {
    "ask": lambda one: one.ask(TURN, 1),
    "created": lambda one: one.created("r0", 0, 0),
    "created_other": lambda one: one.created("rX", None, 0),
    "ended": lambda one: one.ended("r0"),
    "ended_other": lambda one: one.ended("rX"),
    "refused": lambda one: one.refused(0),
    "occupied": lambda one: one.occupied(0, 0),
    "withdraw": lambda one: one.withdraw(0),
    "expire": lambda one: one.expire(REQUEST_PATIENCE_NS + 1),
}


@pytest.mark.parametrize(("make", "cue"), list(itertools.product(STATES, CUES)))
def test_every_cue_in_every_state_leaves_a_slot_that_can_be_freed(
    make: Callable[[], Requester], cue: str
) -> None:
    """No pair of state and cue gets the slot stuck: an end or patience always frees it."""
    one = make()
    CUES[cue](one)
    assert one.slot in Slot
    one.ended(one.response_id)
    one.expire(9 * REQUEST_PATIENCE_NS)
    assert one.slot is Slot.IDLE or one.response_id == ""
    one.ended("anything")
    one.expire(9 * REQUEST_PATIENCE_NS)
    assert one.slot is Slot.IDLE


def test_a_newer_wish_replaces_one_that_waits() -> None:
    """The AI answers the conversation as it stands: only the latest wish is kept."""
    one = active()
    assert one.ask(Ask(AI_TALK, "old"), 0) is None
    assert one.ask(Ask(AI_TALK, "new"), 0) is None
    one.ended("r0")
    assert one.next_turn(0) == 1
    assert one.instructions == "new"
    assert one.next_turn(0) is None


def test_an_answer_to_an_old_turn_is_dead_at_birth() -> None:
    """A turn number from before the commit is refused, even when it arrives late."""
    one = dead_request()
    assert not one.created("r0", 0, 0)
    assert one.slot is Slot.CANCELLING
    one.ended("r0")
    assert one.ask(TURN, 0) == 1
    assert one.created("r1", 1, 0)


def test_an_unasked_answer_takes_an_idle_slot_but_not_a_cancelling_one() -> None:
    """A server that answers by itself is accepted, unless that began before the commit."""
    assert Requester().created("r9", None, 0)
    assert not dead_request().created("r9", None, 0)


def test_a_second_answer_beside_an_active_one_is_refused() -> None:
    """Two answers would talk over each other."""
    assert not active().created("r7", None, 0)


def test_labels_belong_to_turns() -> None:
    """The greeting's turn is the only one with its label; unasked answers are plain talk."""
    one = Requester()
    one.ask(Ask(GREETING, "hello"), 0)
    assert one.label_of(0) == GREETING
    assert one.label_of(None) == AI_TALK
    assert one.label_of(5) == AI_TALK


def test_pending_means_wanted_or_being_made() -> None:
    """Requested, active and waiting wishes can be interrupted; cancelled ones cannot."""
    assert not Requester().is_pending
    assert requested().is_pending
    assert active().is_pending
    assert not cancelling().is_pending
    one = cancelling()
    one.ask(TURN, 0)
    assert one.is_pending
