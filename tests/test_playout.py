"""The playout and its clock: positions of what is queued, sent and heard."""

from __future__ import annotations

import base64
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastbridge._clocks import LAGS_KEPT, CarrierClock
from fastbridge._ring import MulawRing, PagePool
from fastbridge.mulaw import FRAME_BYTES, NS_PER_MS, bytes_of_ms
from fastbridge.playout import BACK_UP_BYTES, Playout
from fastbridge.telling import Telling

MS = NS_PER_MS


def playout(lead_ms: int = 200, message_frames: int = 1) -> Playout:
    ring = MulawRing(pool=PagePool(bytes_max=4 << 20), backlog_frames_max=10_000, rewind_frames=100)
    ring.set_template(b"<", b">")
    return Playout(
        ring, lead_ms=lead_ms, now_ns=0, history_frames=100, message_frames=message_frames
    )


def put(one: Playout, item: str, count: int, response: str = "r") -> int:
    return one.queue(response, item, base64.b64encode(b"\x01" * count).decode())


def send_all(one: Playout, now_ns: int) -> int:
    """Take every message due now; return how many."""
    frames = 0
    while one.next_message(now_ns) is not None:
        frames += 1
    return frames


def test_the_model_plays_eight_bytes_a_millisecond_while_it_has_any() -> None:
    """The carrier's model: dry, then playing from the first byte, then dry again."""
    clock = CarrierClock(0)
    assert clock.write(1600, 100 * MS)
    assert not clock.write(1600, 200 * MS)
    assert [clock.played(at * MS) for at in (0, 100, 150, 300, 500, 900)] == [
        0,
        0,
        400,
        1600,
        3200,
        3200,
    ]
    assert clock.dry_ns() == 500 * MS
    assert clock.write(160, 900 * MS)
    assert clock.played(910 * MS) == 3280
    assert clock.played(450 * MS) == 2800, "the past is still known"


def test_the_model_forgets_what_was_cleared() -> None:
    """Behind a `clear` the carrier has nothing left to play."""
    clock = CarrierClock(0)
    clock.write(1600, 0)
    clock.clear(50 * MS)
    assert clock.unplayed(50 * MS) == 0
    assert clock.dry_ns() == 50 * MS


def test_the_ear_is_one_way_behind_and_jitter_counts_against_us() -> None:
    """The lowest lag halves into the way to the ear; what is beyond it is all subtracted."""
    clock = CarrierClock(0)
    assert clock.ear_delay_ns == 200 * MS
    clock.learn(80 * MS)
    assert clock.one_way_ns == 40 * MS
    assert clock.ear_delay_ns == 100 * MS, "one echo does not know the jitter yet"
    for _ in range(7):
        clock.learn(80 * MS)
    assert clock.ear_delay_ns == 40 * MS
    clock.learn(110 * MS)
    assert clock.ear_delay_ns == 70 * MS
    for _ in range(LAGS_KEPT):
        clock.learn(-5)
    assert clock.ear_delay_ns == 0


def test_nothing_is_sent_beyond_the_lead() -> None:
    """At most `lead` waits at the carrier; each 20 ms one frame more may go."""
    one = playout()
    put(one, "i", 16_000)
    assert send_all(one, 0) == 10
    assert send_all(one, 19 * MS) == 0
    assert send_all(one, 20 * MS) == 1
    assert send_all(one, 100 * MS) == 4


def test_after_a_long_stall_no_more_than_the_lead_leaves_at_once() -> None:
    """Debt is not paid back: a dry carrier gets one lead, not everything it missed."""
    one = playout()
    put(one, "i", 100_000)
    send_all(one, 0)
    assert send_all(one, 5_000 * MS) == 10


def test_marks_come_every_60_ms_and_more_often_near_the_head() -> None:
    """40 ms apart in the first 400 ms of a talkspurt, 60 ms afterwards, one at its end."""
    one = playout(lead_ms=1000)
    put(one, "i", bytes_of_ms(920))
    one.end_audio("r")
    marked = []
    for frame in range(1, 50):
        if one.next_message(0) is None:
            break
        if one.take_mark() is not None:
            marked.append(frame * 20)
    assert marked == [*range(40, 440, 40), *range(460, 920, 60), 920]
    assert one.take_mark() is None


def test_holds_that_follow_each_other_do_not_add_up_their_steps_back() -> None:
    """However often a resume is stopped before its first frame, 120 ms before the ear is all."""
    one = playout()
    rising = b"".join(bytes([0x7F - at]) * FRAME_BYTES for at in range(40))  # quietest first
    assert one.queue("r", "a", base64.b64encode(rising).decode()) == len(rising)
    for at_ms in range(0, 600, 20):
        while one.next_message(at_ms * MS) is not None:
            mark = one.take_mark()
            if mark is not None and at_ms:
                one.mark_echoed(mark, at_ms * MS, at_ms // 20)
    assert one.hold(600 * MS)
    proven = one.proof.position
    assert proven > BACK_UP_BYTES
    for _ in range(3):
        one.resume()
        assert one.proof.position == proven
        one.hold(600 * MS)
        assert one.proof.position - one.ring.read_position <= BACK_UP_BYTES


def sizes(one: Playout, now_ns: int) -> list[int]:
    """Take every message due now; return their audio in milliseconds."""
    found = []
    while (message := one.next_message(now_ns)) is not None:
        found.append(len(base64.b64decode(message[1:-1])) // bytes_of_ms(1))
    return found


@pytest.mark.parametrize(
    ("frames", "first", "then"),
    [
        (1, [20] * 10, {0: [20], 1: [20], 2: [20]}),
        (2, [40] * 5, {0: [], 1: [40], 2: []}),
        (3, [60] * 3, {0: [], 1: [60], 2: []}),
    ],
)
def test_a_message_waits_for_its_place_in_the_lead_and_for_nothing_else(
    frames: int, first: list[int], then: dict[int, list[int]]
) -> None:
    """Of plenty, full messages leave, never beyond the lead; at most as many beats apart."""
    one = playout(message_frames=frames)
    put(one, "i", bytes_of_ms(2_000))
    assert sizes(one, 0) == first
    assert one.clock.unplayed(0) <= one.lead_bytes
    sent = {beat: sizes(one, (beat + 1) * 20 * MS) for beat in range(12)}
    assert {beat: sent[beat] for beat in then} == then
    dry = [beat for beat in range(12 - frames) if not any(sent[beat + n] for n in range(frames))]
    assert dry == []


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_nothing_waits_for_company(frames: int) -> None:
    """A delta that does not fill a message leaves at the next beat, open response or not."""
    one = playout(message_frames=frames)
    for beat in range(50):
        put(one, "i", FRAME_BYTES + beat % 2)
        assert sizes(one, beat * 20 * MS)[0] == 20
        assert one.ring.readable_bytes < FRAME_BYTES
    one.end_audio("r")
    left = one.ring.readable_bytes
    assert 0 < left < FRAME_BYTES
    assert sizes(one, 50 * 20 * MS) == [20]
    assert (one.padding_bytes, one.underruns) == (FRAME_BYTES - left, 0)


@pytest.mark.parametrize(("frames", "lead_ms"), [(1, 60), (2, 80), (3, 100), (3, 110)])
def test_the_shortest_lead_never_runs_dry(frames: int, lead_ms: int) -> None:
    """With 40 ms beyond a message the carrier always has audio when a beat is 15 ms late."""
    one = playout(lead_ms, frames)
    put(one, "i", bytes_of_ms(4_000))
    one.end_audio("r")
    sizes(one, 0)
    for beat in range(1, 190):
        now_ns = (beat * 20 + beat % 4 * 5) * MS
        assert one.clock.unplayed(now_ns) > 0
        sizes(one, now_ns)
    assert one.underruns == 0


@pytest.mark.parametrize("frames", [2, 3])
def test_a_long_message_is_booked_to_the_byte(frames: int) -> None:
    """Sent, heard, padded and repeated count AI bytes, however long the message was."""
    one = playout(1000, frames)
    put(one, "i", 1000)
    one.end_audio("r")
    whole = [20 * frames] * (7 // frames) + [20 * (7 % frames)] * (7 % frames > 0)
    assert sizes(one, 0) == whole
    assert (one.sent_position, one.padding_bytes) == (1000, 120)
    assert one.clock.sent_wire_bytes == 1120
    name = one.take_mark()
    assert name == "g0s0:1000"
    assert one.mark_echoed(name, 140 * MS) is not None
    assert one.heard_position(140 * MS) == 1000
    assert not one.is_playing(140 * MS)


def test_stale_frames_of_a_long_message_are_counted_one_by_one() -> None:
    """The measure of what must not happen counts frames, not messages."""
    one = playout(message_frames=3)
    put(one, "i", 5 * FRAME_BYTES, "old")
    one.flush(0)
    put(one, "j", FRAME_BYTES, "new")
    put(one, "i", FRAME_BYTES + 40, "old")
    put(one, "j", FRAME_BYTES, "new")
    for response in ("old", "new"):
        one.end_audio(response)
    assert sizes(one, 0) == [60, 20]
    assert one.stale.frames_sent == 2


def test_marks_stand_behind_messages_of_any_size() -> None:
    """Every 40 ms in the head of a talkspurt, every 60 ms behind it, in whole messages."""
    for frames, spacing_ms in ((2, (40, 80)), (3, (60, 60))):
        one = playout(1000, frames)
        put(one, "i", bytes_of_ms(940))
        one.end_audio("r")
        at_ms, marked = 0, []
        while (message := one.next_message(0)) is not None:
            at_ms += len(base64.b64decode(message[1:-1])) // bytes_of_ms(1)
            if one.take_mark() is not None:
                marked.append(at_ms)
        steps = [after - before for before, after in zip([0, *marked], marked, strict=False)]
        head = [step for step, end in zip(steps, marked, strict=True) if end <= 400]
        assert (set(head), max(steps), marked[-1]) == ({spacing_ms[0]}, spacing_ms[1], 940)


def test_an_echoed_mark_confirms_its_position() -> None:
    """A mark that came back lifts the heard position to where it stood, whatever the clock."""
    one = playout()
    put(one, "i", 1600)
    one.next_message(0)
    one.next_message(0)
    name = one.take_mark()
    assert name == "g0s0:320"
    assert one.heard_position(0) == 0
    mark = one.mark_echoed(name, 1 * MS)
    assert mark is not None
    assert one.heard_position(1 * MS) == 320
    assert one.mark_echoed(name, 2 * MS) is None
    assert one.marks.unknown == 1


def test_a_lost_mark_does_not_hold_up_the_ones_behind_it() -> None:
    """An echo also settles every mark that was sent before it."""
    one = playout()
    put(one, "i", 1600)
    names = []
    for _ in range(8):
        one.next_message(0)
        names.append(one.take_mark())
    sent = [name for name in names if name]
    assert one.mark_echoed(sent[-1], MS) is not None
    assert one.mark_echoed(sent[0], MS) is None


def test_a_stall_of_our_own_loop_is_no_jitter_of_the_carrier() -> None:
    """Echoes that lay unread while the loop stood still teach nothing about the way to the ear."""
    for has_stood in (False, True):
        one = playout()
        put(one, "i", 16_000)
        echoes: list[tuple[int, str]] = []
        for ms in range(0, 2_000, 20):
            is_standing = has_stood and 1_000 < ms < 1_400
            if not is_standing:
                one.beat(ms * MS)
            late_ms = 400 if 1_000 < ms < 1_400 else 0
            while not is_standing and echoes and echoes[0][0] + late_ms <= ms:
                one.mark_echoed(echoes.pop(0)[1], ms * MS)
            if not is_standing and one.next_message(ms * MS) is not None:
                name = one.take_mark()
                if name is not None:
                    echoes.append((one.clock.dry_ns() // MS + 80, name))
        assert (one.clock.jitter_ns < 100 * MS) is has_stood


def test_who_is_at_the_ear_and_who_was_sent_last() -> None:
    """Positions name the response whose byte comes next, and the one sent last."""
    one = playout()
    assert one.response_at_ear(0) == ""
    assert one.response_sent_last() == ""
    put(one, "i", 320, "r1")
    put(one, "j", 320, "r2")
    assert one.response_at_ear(0) == "r1"
    send_all(one, 0)
    assert one.response_sent_last() == "r2"
    assert one.response_at_ear(1000 * MS) == ""
    assert one.item_heard_bytes("i", 1000 * MS) == 320
    assert one.item_heard_bytes("nobody", 0) == 0


def test_a_flush_reports_what_was_heard_of_each_item() -> None:
    """Heard items are left out, the partly heard one comes with its bytes, the others with 0."""
    one = playout()
    put(one, "first", 800)
    put(one, "second", 16_000)
    put(one, "third", 800)
    send_all(one, 0)
    marks = []
    for ms in range(20, 500, 20):
        while one.next_message(ms * MS) is not None:
            marks.append(one.take_mark())
    for name in filter(None, marks):
        if int(name.partition(":")[2]) <= bytes_of_ms(300):
            one.mark_echoed(name, 499 * MS)
    flushed, cut = one.flush(500 * MS)
    telling = Telling(cut, one.proof, candidate=1, generation=1, decided_ns=500 * MS)
    found = [(item.item_id, item.heard_ms) for item in telling.heard()]
    assert found == [("second", 180), ("third", 0)], "the latest mark at or below 300 ms"
    assert (telling.heard_ms, telling.is_proven) == (180, False)
    assert flushed > 0
    assert one.ring.readable_bytes == 0
    assert one.unheard_bytes(500 * MS) == 0
    assert (one.generation, one.segment) == (1, 1)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("put"), st.integers(1, 4000)),
            st.tuples(st.just("wait"), st.integers(1, 400)),
            st.tuples(st.just("end"), st.just(0)),
            st.tuples(st.just("echo"), st.integers(0, 100)),
            st.tuples(st.just("flush"), st.just(0)),
        ),
        max_size=40,
    ),
    st.integers(1, 3),
)
def test_heard_never_passes_sent_and_sent_never_passes_queued(
    steps: list[tuple[str, int]], message_frames: int
) -> None:
    """The ledger's first law, whatever happens: heard <= sent <= queued, and heard never falls."""
    one = playout(message_frames=message_frames)
    now_ns, marks, number, heard = 0, [], 0, 0

    def advance() -> None:
        while one.next_message(now_ns) is not None:
            if (name := one.take_mark()) is not None:
                marks.append(name)

    doors: dict[str, Callable[[int], object]] = {
        "put": lambda count: put(one, f"i{number}", count),
        "wait": lambda _: None,
        "end": lambda _: one.end_audio("r"),
        "echo": lambda _: one.mark_echoed(marks.pop(0), now_ns) if marks else None,
        "flush": lambda _: one.flush(now_ns),
    }
    for step, value in steps:
        number += 1
        doors[step](value)
        if step == "wait":
            now_ns += value * MS
        advance()
        position = one.heard_position(now_ns)
        assert heard <= position <= one.ring.read_position <= one.ring.write_position
        assert one.clock.sent_wire_bytes == one.ring.read_bytes + one.padding_bytes
        assert one.clock.unplayed(now_ns) <= one.lead_bytes
        assert one.ring.window_frames_filled <= 150
        heard = position
        assert one.padding_bytes < (number + 1) * FRAME_BYTES
