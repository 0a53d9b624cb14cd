"""The proof by bytes: planted faults are found, honest calls are found clean."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastbridge.caller.proof import Proof, prove
from fastbridge.worlds.carrier_record import CarrierRecord, ClearArrival, MediaArrival

FF = b"\xff"


def speech(seed: int, length: int, *, head: int = 0, tail: int = 0) -> bytes:
    """Sound like no other response: `head` and `tail` bytes of silence round noise."""
    noise = random.Random(seed).randbytes(length - head - tail)
    return FF * head + noise.replace(FF, b"\xfe") + FF * tail


def frames(data: bytes) -> list[bytes]:
    """Cut into messages of 20 ms."""
    return [data[at : at + 160] for at in range(0, len(data), 160)]


def padded(data: bytes) -> bytes:
    """Fill the last frame up with silence, as a bridge does."""
    return data + FF * (-len(data) % 160)


def call(*steps: bytes | int, left: int = 0) -> CarrierRecord:
    """Build a record: bytes are media that arrived, a number is a clear that discarded so many."""
    record = CarrierRecord(left_bytes=left)
    for at, step in enumerate(steps):
        if isinstance(step, int):
            record.arrivals.append(ClearArrival(at, step))
        else:
            record.arrivals += [MediaArrival(at, frame) for frame in frames(step)]
    return record


def sums(proof: Proof) -> tuple[int, int, int, int]:
    """Return stale, lost, disordered and unexplained bytes."""
    return (
        proof.stale_bytes,
        sum(one.lost_bytes for one in proof.responses),
        sum(one.disordered_bytes for one in proof.responses),
        proof.unexplained_bytes,
    )


A = speech(1, 5_003, head=200, tail=333)
B = speech(2, 7_777, head=90, tail=50)
C = speech(3, 3_111, tail=700)
SAID = [("a", A), ("b", B), ("c", C)]


def test_an_honest_call_is_whole() -> None:
    """Three answers with padded ends arrive and are heard byte for byte."""
    proof = prove(SAID, call(padded(A), padded(B) + padded(C)))
    assert proof.faults == []
    assert all(one.is_whole and not one.is_interrupted for one in proof.responses)
    assert proof.padding_bytes == sum(-len(said) % 160 for _, said in SAID)


def test_answers_that_share_a_frame_are_whole() -> None:
    """Without a pause between them two answers follow each other inside one frame."""
    proof = prove(SAID, call(padded(A + B + C)))
    assert proof.faults == []
    assert all(one.is_whole for one in proof.responses)


def test_a_cut_answer_is_interrupted_and_nothing_is_stale() -> None:
    """A clear ends an answer; heard is what was not thrown away; the next answer is whole."""
    proof = prove(SAID, call(A[:3_200], 800, padded(B), padded(C)))
    a, b, c = proof.responses
    assert (a.received_bytes, a.heard_bytes) == (3_200, 2_400)
    assert a.is_interrupted
    assert b.is_whole
    assert c.is_whole
    assert proof.faults == []


def test_answers_queued_behind_a_cut_one_may_be_missing() -> None:
    """A clear also ends what waited in the bridge: a skipped answer behind a clear is no loss."""
    proof = prove(SAID, call(A[:3_200], 800, padded(C)))
    assert proof.responses[1].is_interrupted
    assert proof.responses[1].received_bytes == 0
    assert proof.faults == []


@pytest.mark.parametrize("size", [160, 161, 1_600])
def test_planted_stale_bytes_are_counted_exactly(size: int) -> None:
    """The rest of a cut answer behind its clear is stale, to the byte."""
    proof = prove(SAID, call(A[:1_600], 800, A[1_600 : 1_600 + size], padded(B), padded(C)))
    assert sums(proof) == (size, 0, 0, 0)
    assert proof.responses[0].stale_bytes == size
    assert proof.responses[1].is_whole
    assert proof.stale_heard_bytes == size


def test_stale_silence_is_found_before_an_answer_that_begins_silent() -> None:
    """A stale frame of pure silence does not pass as the head of the next answer."""
    silent = FF * 320 + speech(9, 800)
    proof = prove([("a", silent), ("b", B)], call(silent[:160], 0, silent[160:320], padded(B)))
    assert sums(proof) == (160, 0, 0, 0)
    assert proof.responses[1].is_whole


def test_stale_bytes_thrown_away_by_a_second_clear_were_not_heard() -> None:
    """Stale bytes that reached the carrier are counted; those that sounded, apart."""
    proof = prove(SAID, call(A[:1_600], 800, A[1_600:1_920], 200, padded(B), padded(C)))
    assert (proof.stale_bytes, proof.stale_heard_bytes) == (320, 120)


def test_a_stale_whole_answer_from_the_past_is_found() -> None:
    """Bytes of an answer before the cut one, played again after the clear, are stale too."""
    proof = prove(SAID, call(padded(A), B[:1_600], 160, A[:800], padded(C)))
    assert proof.stale_bytes == 800
    assert proof.responses[2].is_whole


@pytest.mark.parametrize("at", [0, 1, 10, 20, 31])
def test_a_lost_frame_is_found(at: int) -> None:
    """One frame missing in the middle, at the head or at the end makes the answer not whole."""
    pieces = frames(padded(A))
    lost = b"".join(pieces[:at] + pieces[at + 1 :])
    proof = prove(SAID, call(lost, padded(B), padded(C)))
    assert sums(proof)[1] > 0
    assert not all(one.is_whole for one in proof.responses)
    assert proof.responses[2].is_whole


def test_a_lost_tail_is_found() -> None:
    """An answer that stops without a clear has lost its end, also as the last of the call."""
    assert sums(prove(SAID, call(padded(A), B[:3_200], padded(C)))) == (0, len(B) - 3_200, 0, 0)
    assert sums(prove(SAID, call(padded(A), padded(B), C[:1_600]))) == (0, len(C) - 1_600, 0, 0)


def test_a_lost_answer_is_found() -> None:
    """An answer that never arrived, without a clear, is lost."""
    assert sums(prove(SAID, call(padded(A), padded(C)))) == (0, len(B), 0, 0)


def test_an_answer_the_ai_knows_as_cancelled_is_not_lost() -> None:
    """What the AI's side names as interrupted may be missing without a clear."""
    proof = prove(SAID, call(padded(A), padded(C)), interrupted={"b"})
    assert proof.faults == []
    assert proof.responses[1].is_interrupted


def test_swapped_frames_are_found() -> None:
    """Two frames in the wrong order are out of order, although no byte is missing."""
    pieces = frames(padded(B))
    pieces[10], pieces[11] = pieces[11], pieces[10]
    proof = prove(SAID, call(padded(A), b"".join(pieces), padded(C)))
    assert sums(proof)[2] >= 150
    assert not proof.responses[1].is_whole
    assert proof.responses[2].is_whole


def test_a_repeated_frame_is_found() -> None:
    """A frame heard twice is out of order."""
    pieces = frames(padded(B))
    proof = prove(SAID, call(padded(A), b"".join([*pieces[:9], pieces[8], *pieces[9:]]), padded(C)))
    assert sums(proof)[2] == 160
    assert sums(proof)[1] == 0


def test_foreign_bytes_are_found() -> None:
    """Bytes nobody said are unexplained, and what follows them is still recognised."""
    proof = prove(SAID, call(padded(A), speech(77, 480), padded(B), padded(C)))
    assert sums(proof) == (0, 0, 0, 480)
    assert proof.responses[1].is_whole


def test_silence_fill_is_not_padding() -> None:
    """160 bytes of 0xFF or more between answers are not explained by a padded end."""
    proof = prove(SAID, call(padded(A), FF * 320, padded(B), padded(C)))
    assert proof.unexplained_bytes + sums(proof)[1] > 0


def test_a_hang_up_interrupts_and_loses_nothing() -> None:
    """What had not arrived, or was still unheard, at the hang-up is interrupted, not lost."""
    proof = prove(SAID, call(padded(A), B[:3_200], left=400))
    assert proof.faults == []
    assert [one.is_interrupted for one in proof.responses] == [False, True, True]
    assert proof.responses[1].heard_bytes == 2_800


def test_an_incomplete_record_proves_nothing() -> None:
    """A record that ran over its limits is refused."""
    with pytest.raises(ValueError, match="not kept"):
        prove(SAID, CarrierRecord(unkept=1))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_every_honest_call_is_clean_and_planted_stale_is_counted(data: st.DataObject) -> None:
    """Whatever the lengths, the silences and the cuts: no false alarm, and stale is exact."""
    said: list[tuple[str, bytes]] = []
    steps: list[bytes | int] = []
    stale = 0
    for number in range(data.draw(st.integers(1, 5))):
        head = data.draw(st.sampled_from([0, 1, 159, 160, 161, 700]))
        tail = data.draw(st.sampled_from([0, 1, 159, 160, 161, 700]))
        body = data.draw(st.integers(400, 3_000))
        text = speech(number, head + body + tail, head=head, tail=tail)
        said.append((f"r{number}", text))
        if data.draw(st.booleans()):
            steps.append(padded(text))
            continue
        first = (head + 200) // 160 + 1  # cut where it sounds: silence alone is anybody's
        at = data.draw(st.integers(first, max(first, len(text) // 160))) * 160
        steps += [text[:at], data.draw(st.integers(0, at))]
        rest = text[at : at + 160 * data.draw(st.integers(0, 2))]
        if rest.strip(FF) and len(rest) >= 160:
            stale += len(rest)
            steps.append(rest)
    proof = prove(said, call(*steps))
    assert proof.stale_bytes == stale
    assert sums(proof)[1:] == (0, 0, 0) or stale
