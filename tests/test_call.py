"""The call core: who speaks, what an interruption does, what is never heard again."""

from __future__ import annotations

import dataclasses
import json

import pytest

from driver import PAYLOAD, Line, audio
from fastbridge._ring import MulawRing, inspect_base64
from fastbridge.caller_delay import silence_base64
from fastbridge.config import Settings
from fastbridge.events import (
    AiErrored,
    AiLost,
    AppendCallerAudio,
    AudioEnded,
    BargeInConfirmed,
    BargeInDecided,
    BargeInTold,
    CancelResponse,
    CarrierStarted,
    CarrierStopped,
    ClearCarrier,
    CloseAi,
    CloseCarrier,
    ConfigureAi,
    ConnectAi,
    DeleteItem,
    DigitPressed,
    EchoCancelling,
    Event,
    InputCommitted,
    ItemAdded,
    ItemTruncated,
    MarkEchoed,
    Noted,
    RequestResponse,
    ResponseCreated,
    ResponseEnded,
    SendMark,
    SessionCreated,
    SessionUpdated,
    SpeechStarted,
    TruncateItem,
)
from fastbridge.mulaw import FRAME_BYTES, SILENCE

QUIET = Settings(greeting="", barge_in="instant")


def turn(line: Line, item: str = "item_turn") -> None:
    """The caller's turn ends; the call asks for an answer."""
    line.tell(InputCommitted(item))


# --------------------------------------------------------------------------- is_ai_speaking


def test_ai_speaking_begins_with_the_response_before_any_audio() -> None:
    """`is_ai_speaking` is true from `response.created` on, before the first audio."""
    line = Line(QUIET)
    turn(line)
    assert not line.is_ai_speaking
    line.response("r1")
    assert line.is_ai_speaking
    assert line.call.is_ai_generating
    assert not line.call.is_ai_audible(line.now_ns)


def test_ai_speaking_lasts_until_the_last_byte_was_heard() -> None:
    """Generation is over long before the caller has heard the answer: the AI still speaks."""
    line = Line(QUIET)
    turn(line)
    line.answers("r1", audio(1000))
    assert not line.call.is_ai_generating
    ends = []
    line.beat_observers.append(lambda one: ends.append((one.now_ms, one.is_ai_speaking)))
    line.run(1500)
    last_true = max(ms for ms, speaking in ends if speaking)
    ear_end_ms = line.carrier.record.runs[-1].end_ns // 1_000_000 - 10_000
    assert ear_end_ms <= last_true + 20 <= ear_end_ms + 80
    assert not line.is_ai_speaking


def test_ai_speaking_ends_when_a_response_ends_without_audio() -> None:
    """A response that failed, or brought no audio, leaves nobody speaking."""
    for status in ("failed", "cancelled", "incomplete", "completed"):
        line = Line(QUIET)
        turn(line)
        line.response("r1")
        line.ends("r1", status)
        assert not line.is_ai_speaking, status


def test_ai_speaking_ends_at_once_with_a_barge_in() -> None:
    """After an accepted barge-in the AI does not speak, whatever the server still sends."""
    line = Line(QUIET)
    turn(line)
    line.response("r1")
    line.says("r1", audio(5000))
    line.run(1000)
    line.caller_starts()
    assert not line.is_ai_speaking
    assert not line.call.is_ai_audible(line.now_ns)
    line.says("r1", audio(200, seed=2))
    assert not line.is_ai_speaking


def test_audible_is_only_true_while_bytes_reach_the_ear() -> None:
    """`is_ai_audible` follows the ear: false before the first byte and after the last."""
    line = Line(QUIET)
    line.run(100)
    turn(line)
    line.answers("r1", audio(500))
    heard = []
    line.beat_observers.append(
        lambda one: heard.append((one.carrier.is_audible, one.call.is_ai_audible(one.now_ns)))
    )
    line.run(1200)
    wrong = sum(real != believed for real, believed in heard)
    assert wrong <= 6, "the belief may lag by the round trip at each edge, not more"
    assert any(believed for _, believed in heard)


# --------------------------------------------------------------------------- barge-in


def test_barge_in_order_is_clear_cancel_truncate() -> None:
    """One commit: carrier clear first, then cancel by id; truncate when the carrier has proved."""
    line = Line(QUIET)
    turn(line)
    line.response("r1")
    line.says("r1", audio(6000))
    line.run(2000)
    before = len(line.done)
    line.caller_starts()
    kinds = [type(command) for _, command in line.done[before:]]
    assert kinds == [ClearCarrier, CancelResponse, BargeInDecided]
    assert line.of(CancelResponse)[0].response_id == "r1"
    assert line.decisions[0].outcome == "committed"
    line.run(line.rtt_ms)
    kinds = [type(command) for _, command in line.done[before + 3 :]]
    assert kinds == [BargeInTold, TruncateItem, BargeInConfirmed]


def test_nothing_of_the_old_answer_is_written_after_the_flush() -> None:
    """Zero stale frames: late deltas of the interrupted response are dropped by id."""
    line = Line(QUIET)
    turn(line)
    line.response("r1")
    line.says("r1", audio(4000))
    line.run(1500)
    sent = line.call.counts.frames_sent
    line.caller_starts()
    for late in range(4):
        line.says("r1", audio(200, seed=10 + late))
        line.run(60)
    line.ends("r1", "cancelled")
    line.run(1000)
    assert line.call.counts.frames_sent == sent
    assert line.call.counts.stale_deltas_dropped == 4
    assert line.call.playout.ring.readable_bytes == 0


def test_audio_behind_the_end_of_a_finished_response_is_dropped() -> None:
    """A delta that follows `response.done` is stale."""
    line = Line(QUIET)
    turn(line)
    line.answers("r1", audio(100))
    line.says("r1", audio(100, seed=3))
    assert line.call.counts.stale_deltas_dropped == 1


def test_audio_of_a_response_never_announced_is_refused() -> None:
    """A delta without its `response.created` is counted as bad and not played."""
    line = Line(QUIET)
    line.says("ghost", audio(100))
    assert line.call.counts.bad_deltas == 1
    assert line.call.playout.ring.readable_bytes == 0


def test_barge_in_works_after_generation_has_ended() -> None:
    """The commonest case: the AI is done, its answer is not; there is nothing to cancel."""
    line = Line(QUIET)
    turn(line)
    line.answers("r1", audio(8000))
    line.run(2000)
    line.caller_starts()
    assert line.of(CancelResponse) == []
    assert len(line.of(ClearCarrier)) == 1
    line.run(200)
    assert len(line.of(TruncateItem)) == 1
    assert not line.carrier.is_audible


def test_truncate_never_exceeds_what_the_ear_heard() -> None:
    """The truncated milliseconds are at most what had been played when `clear` arrived."""
    for at_ms in range(600, 3000, 170):
        line = Line(QUIET)
        turn(line)
        line.answers("r1", audio(5000))
        line.run(at_ms)
        line.caller_starts()
        line.run(200)
        (truncate,) = line.of(TruncateItem)
        heard_ms = len(line.heard) // 8
        assert truncate.audio_end_ms <= heard_ms
        assert heard_ms - truncate.audio_end_ms <= 60 + line.rtt_ms // 2


def test_time_to_silence_is_the_carriers_round_trip_at_most() -> None:
    """From the report of speech to the last sample at the ear: one way to the carrier."""
    line = Line(QUIET)
    turn(line)
    line.answers("r1", audio(8000))
    line.run(2000)
    at_ns = line.now_ns
    line.caller_starts()
    line.run(500)
    silence_ms = (line.carrier.record.runs[-1].end_ns - at_ns) / 1e6
    assert silence_ms <= line.rtt_ms


def test_an_unheard_item_is_deleted_not_truncated() -> None:
    """An item of which nothing was heard is deleted; truncating to 0 ms would be refused."""
    line = Line(QUIET, rtt_ms=200)
    line.run(1000)
    turn(line)
    line.answers("r1", audio(3000))
    line.run(20)
    line.caller_starts(ago_ms=400)
    line.run(line.rtt_ms)
    assert line.of(TruncateItem) == []
    assert [one.item_id for one in line.of(DeleteItem)] == ["item_r1"]


def test_of_two_queued_answers_the_heard_one_is_truncated_and_the_other_deleted() -> None:
    """Answers lie in the ring one behind the other; only what was partly heard is truncated."""
    line = Line(QUIET)
    turn(line)
    line.answers("r1", audio(4000))
    turn(line, "item_turn2")
    line.answers("r2", audio(4000, seed=2))
    line.run(1500)
    line.caller_starts()
    line.run(line.rtt_ms)
    assert [one.item_id for one in line.of(TruncateItem)] == ["item_r1"]
    assert [one.item_id for one in line.of(DeleteItem)] == ["item_r2"]


def test_a_fully_heard_item_is_left_alone() -> None:
    """Amends never touch what the caller heard to its end, nor function calls."""
    line = Line(QUIET)
    turn(line)
    line.answers("r1", audio(500))
    line.run(1500)
    turn(line, "item_turn2")
    line.response("r2")
    line.tell(ItemAdded("r2", "call_1", "function_call"))
    line.says("r2", audio(4000, seed=2))
    line.run(1500)
    line.caller_starts()
    line.run(line.rtt_ms)
    touched = {one.item_id for one in line.of(TruncateItem) + line.of(DeleteItem)}
    assert touched == {"item_r2"}


def test_items_of_a_cancelled_response_are_deleted_once_it_has_ended() -> None:
    """An item still being made is deleted behind its `response.done`, not before it exists."""
    line = Line(QUIET)
    turn(line)
    line.response("r1")
    line.run(200)
    line.caller_starts()
    assert line.of(DeleteItem) == []
    line.tell(ItemAdded("r1", "item_late", "message"))
    line.ends("r1", "cancelled")
    assert [one.item_id for one in line.of(DeleteItem)] == ["item_r1", "item_late"]


def test_a_pending_answer_is_interrupted_too() -> None:
    """The caller pauses and goes on before the answer is audible: the answer is withdrawn."""
    line = Line(QUIET)
    turn(line)
    line.run(300)
    line.caller_starts()
    assert line.decisions[0].outcome == "committed"
    line.tell(ResponseCreated("r1", 0))
    assert [one.response_id for one in line.of(CancelResponse)] == ["r1"]
    line.says("r1", audio(500))
    line.run(500)
    assert line.call.counts.frames_sent == 0
    assert line.call.counts.responses_dead_at_birth == 1


def test_after_a_dead_birth_the_next_turn_is_asked_when_the_slot_is_free() -> None:
    """One response at a time: the next request waits for `response.done` of the dead one."""
    line = Line(QUIET)
    turn(line)
    line.run(300)
    line.caller_starts()
    turn(line, "item_2")
    assert [one.turn for one in line.of(RequestResponse)] == [0]
    line.tell(ResponseCreated("r1", 0))
    assert [one.turn for one in line.of(RequestResponse)] == [0]
    line.ends("r1", "cancelled")
    assert [one.turn for one in line.of(RequestResponse)] == [0, 1]
    line.response("r2")
    line.says("r2", audio(500))
    line.run(1200)
    assert line.heard == audio(500)


def test_the_carrier_confirms_silence_by_the_fence() -> None:
    """The fence mark behind `clear` comes back once: that is the proof of silence."""
    line = Line(QUIET)
    turn(line)
    line.answers("r1", audio(5000))
    line.run(1000)
    line.caller_starts()
    at_ns = line.now_ns
    line.run(300)
    (confirmed,) = line.of(BargeInConfirmed)
    assert confirmed.confirmed_ns - at_ns == line.rtt_ms * 1_000_000
    assert confirmed.generation == 1


def test_marks_returned_by_clear_are_not_counted_as_played() -> None:
    """`clear` sends every outstanding mark back; none of them moves the heard position."""
    line = Line(QUIET)
    turn(line)
    line.answers("r1", audio(5000))
    line.run(1000)
    line.caller_starts()
    line.run(500)
    turn(line, "item_2")
    line.answers("r2", audio(3000, seed=2))
    line.run(60)
    assert line.call.playout.marks.ignored > 0
    heard = line.call.playout.item_heard_bytes("item_r2", line.now_ns)
    assert heard <= len(line.heard) - 160


def test_a_second_barge_in_raises_generation_and_segment_again() -> None:
    """Each commit has its own generation, in the names of its marks too."""
    line = Line(QUIET)
    for number in range(3):
        turn(line, f"item_{number}")
        line.answers(f"r{number}", audio(3000, seed=number + 1))
        line.run(1500)
        line.caller_starts(item=f"c{number}")
        line.run(500)
    assert line.call.generation == 3
    assert [fence.fence.split(":")[0] for fence in line.of(ClearCarrier)] == [
        "g1s1f",
        "g2s2f",
        "g3s3f",
    ]


# --------------------------------------------------------------------------- nothing is lost


@pytest.mark.parametrize("size", [1, 159, 160, 161, 4000, 24_000, 24_001, 100_003])
def test_an_uninterrupted_answer_is_heard_byte_for_byte(size: int) -> None:
    """Received equals heard, in order, at any length; 0xFF pads the last frame only."""
    sound = (audio(size // 8 + 1))[:size]
    line = Line(QUIET)
    turn(line)
    line.response("r1")
    for start in range(0, size, 997):
        line.says("r1", sound[start : start + 997])
    line.ends("r1")
    line.run(size // 8 + 600)
    padding = -size % FRAME_BYTES
    assert line.heard == sound + bytes([SILENCE]) * padding
    assert not line.is_ai_speaking
    assert line.carrier.record.gaps == []


def test_the_last_partial_frame_waits_while_its_answer_goes_on() -> None:
    """Padding only ends a talkspurt: mid-answer a partial frame waits for the next delta."""
    line = Line(QUIET)
    turn(line)
    line.response("r1")
    line.says("r1", audio(200)[:1000])
    line.run(100)
    assert line.call.playout.padding_bytes == 0
    assert line.call.counts.frames_sent == 6
    line.tell(AudioEnded("r1", "item_r1"))
    line.run(40)
    assert line.call.counts.frames_sent == 7
    assert line.call.playout.padding_bytes == 120


def test_two_answers_in_a_row_share_a_frame_and_lose_nothing() -> None:
    """A frame may span two answers: no padding between what lies back to back in the ring."""
    line = Line(QUIET)
    first, second = audio(1000)[:7_777], audio(1000, seed=2)
    turn(line)
    line.answers("r1", first)
    turn(line, "item_2")
    line.answers("r2", second)
    line.run(3000)
    joined = first + second
    assert line.heard == joined + bytes([SILENCE]) * (-len(joined) % FRAME_BYTES)


def test_the_window_never_holds_more_than_150_frames() -> None:
    """The TX window is 150 frames (3 s); a 20 s answer waits in the backlog behind it."""
    line = Line(QUIET)
    turn(line)
    line.answers("r1", audio(20_000))
    ring = line.call.playout.ring
    assert ring.window_frames_filled == 150
    assert ring.unplayed_frames == 1000
    fills = []
    line.beat_observers.append(lambda one: fills.append(one.call.playout.ring.window_frames_filled))
    line.run(21_000)
    assert max(fills) == 150
    assert fills[-1] == 0


def test_the_carrier_is_never_more_than_the_lead_ahead() -> None:
    """Pacing keeps at most `lead_ms` at the carrier: that is all a clear must throw away."""
    line = Line(QUIET)
    turn(line)
    line.answers("r1", audio(6000))
    line.run(6500)
    assert line.carrier.record.buffered_bytes_max <= 200 * 8
    assert line.carrier.record.gaps == []


def test_a_stalled_loop_catches_up_at_most_to_the_lead() -> None:
    """A heartbeat that was away for 150 ms is not heard; one of 500 ms leaves a gap, no burst."""
    line = Line(QUIET)
    turn(line)
    line.answers("r1", audio(6000))
    line.run(1000)
    beat, line._beat = line._beat, lambda: None  # type: ignore[method-assign]
    line.run(150)
    line._beat = beat  # type: ignore[method-assign]
    line.run(1000)
    assert line.carrier.record.gaps == []
    line._beat = lambda: None  # type: ignore[method-assign]
    line.run(500)
    line._beat = beat  # type: ignore[method-assign]
    line.run(6000)
    assert len(line.carrier.record.gaps) == 1
    assert line.carrier.record.buffered_bytes_max <= 200 * 8
    assert line.heard == audio(6000)


def test_an_underrun_is_counted_once_and_costs_no_byte() -> None:
    """The AI is late in mid-answer: one underrun, a gap at the ear, and nothing lost."""
    line = Line(QUIET)
    turn(line)
    line.response("r1")
    line.says("r1", audio(400))
    line.run(1500)
    assert line.call.playout.underruns == 1
    line.says("r1", audio(400, seed=2))
    line.ends("r1")
    line.run(1000)
    assert line.heard == audio(400) + audio(400, seed=2)
    assert line.call.playout.underruns == 1


def test_a_full_backlog_cancels_the_response_and_plays_what_fits() -> None:
    """Beyond the cap: refused whole, counted, logged, response cancelled; never a silent drop."""
    line = Line(QUIET, ring=MulawRing())
    turn(line)
    line.response("r1")
    line.says("r1", audio(2900))
    line.says("r1", audio(200, seed=2))
    assert line.call.counts.backlog_full == 1
    assert [one.response_id for one in line.of(CancelResponse)] == ["r1"]
    assert any("backlog" in note.message for note in line.of(Noted))
    line.says("r1", audio(200, seed=3))
    assert line.call.counts.stale_deltas_dropped == 1
    line.run(4000)
    assert line.heard == audio(2900)


def test_a_delta_that_is_no_base64_changes_nothing_but_a_counter() -> None:
    """Garbage from the AI is counted and logged; the answer goes on."""
    line = Line(QUIET)
    turn(line)
    line.response("r1")
    line.call.ai_audio("r1", "item_r1", "no base64!", line.now_ns)
    line.perform()
    assert line.call.counts.bad_deltas == 1
    line.says("r1", audio(100))
    line.ends("r1")
    line.run(400)
    assert line.heard == audio(100)


# --------------------------------------------------------------------------- the echo guard


def test_no_false_barge_in_from_echo_inside_350_ms() -> None:
    """A sound that begins in the first 350 ms of a talkspurt and stops is our own echo."""
    for onset_ms in (60, 150, 250, 340):
        line = Line(QUIET)
        line.run(500)
        turn(line)
        line.answers("r1", audio(4000))
        line.run(80 + onset_ms)
        line.caller_starts(ago_ms=40)
        assert line.decisions == []
        line.run(10)
        line.caller_stops()
        assert [(one.outcome, one.reason) for one in line.decisions] == [("ignored", "echo")]
        line.run(5000)
        assert line.heard == audio(4000)


def test_the_echo_window_compares_the_onset_not_the_arrival() -> None:
    """A report that arrives after the window about a sound inside it is still doubted."""
    line = Line(QUIET)
    line.run(500)
    turn(line)
    line.answers("r1", audio(4000))
    line.run(700)
    line.caller_starts(ago_ms=450)
    assert line.decisions == []
    line.caller_stops()
    assert line.decisions[0].reason == "echo"
    line.caller_starts(ago_ms=20, item="item_d")
    assert line.decisions[-1].outcome == "committed"


def test_an_early_real_interruption_waits_no_longer_than_the_window() -> None:
    """An interruption 100 ms into the answer that goes on is committed within 350 ms."""
    line = Line(QUIET)
    line.run(500)
    turn(line)
    line.answers("r1", audio(6000))
    line.run(80 + 100 + 100)
    line.caller_starts(ago_ms=100)
    at_ms = line.now_ms
    line.run(400)
    (decision,) = line.decisions
    assert decision.outcome == "committed"
    assert decision.decided_ns // 1_000_000 - 10_000 - at_ms <= 350
    assert not line.carrier.is_audible


def test_echo_of_the_last_words_is_doubted_too() -> None:
    """The window also follows a talkspurt's end, when the next answer is already wanted."""
    line = Line(QUIET)
    turn(line)
    line.answers("r1", audio(1000))
    line.run(1250)
    turn(line, "item_2")
    line.caller_starts(ago_ms=20)
    assert line.decisions == []
    line.caller_stops()
    assert line.decisions[0].reason == "echo"


def test_a_rejected_sound_gets_no_answer_and_leaves_no_item() -> None:
    """Echo that the server committed as a turn is deleted and never answered."""
    line = Line(QUIET)
    line.run(500)
    turn(line)
    line.answers("r1", audio(4000))
    line.run(200)
    line.caller_starts(ago_ms=40, item="item_echo")
    line.caller_stops("item_echo")
    requests = len(line.of(RequestResponse))
    line.tell(InputCommitted("item_echo"))
    assert len(line.of(RequestResponse)) == requests
    assert [one.item_id for one in line.of(DeleteItem)] == ["item_echo"]


def test_a_guarded_sound_that_outlives_the_answer_is_a_plain_turn() -> None:
    """When nothing is left to interrupt at the window's end, it is ordinary speech."""
    line = Line(QUIET)
    line.run(500)
    turn(line)
    line.answers("r1", audio(200))
    line.run(180)
    line.caller_starts(ago_ms=20)
    assert line.decisions == []
    line.run(600)
    assert [(one.outcome, one.reason) for one in line.decisions] == [("withdrawn", "not_speaking")]
    assert line.call.user_has_spoken


def test_speech_in_silence_is_a_turn_not_a_barge_in() -> None:
    """With nothing to interrupt there is no candidate at all."""
    line = Line(QUIET)
    line.run(500)
    line.caller_starts()
    assert line.decisions == []
    assert line.call.user_has_spoken
    assert line.of(ClearCarrier) == []


def test_speech_before_the_session_is_ready_is_no_candidate() -> None:
    """Events of a session that was not granted yet are not acted on."""
    line = Line(QUIET, start=False)
    line.tell(SpeechStarted(0, "x"))
    assert not line.call.user_has_spoken


# --------------------------------------------------------------------------- greeting and labels


def test_the_greeting_is_requested_once_both_sides_are_ready() -> None:
    """No greeting before the stream started and the session was granted; then exactly one."""
    line = Line(start=False)
    assert line.of(RequestResponse) == []
    line.begin()
    assert [type(one) for _, one in line.done if type(one) in (ConnectAi, ConfigureAi)] == [
        ConnectAi,
        ConfigureAi,
    ]
    (request,) = line.of(RequestResponse)
    assert line.settings.greeting in request.instructions
    line.tell(SessionUpdated("audio/pcmu", "audio/pcmu"))
    assert len(line.of(RequestResponse)) == 1


def test_labels_say_greeting_for_the_greeting_and_ai_talk_afterwards() -> None:
    """Labels are carried per response: [GREETING] first, [AI_TALK] for all others."""
    line = Line()
    assert line.call.label(line.now_ns) == "GREETING"
    line.answers("r0", audio(1000))
    turn(line)
    line.answers("r1", audio(1000, seed=2))
    assert line.call.label(line.now_ns) == "GREETING", "the greeting is what the caller hears"
    line.run(1500)
    assert line.call.label(line.now_ns) == "AI_TALK"


def test_greeting_sent_and_user_has_spoken() -> None:
    """`greeting_sent` follows the first frame of the greeting; `user_has_spoken` real speech."""
    line = Line(Settings(barge_in="instant"))
    assert not line.call.greeting_sent
    line.response("r0")
    assert not line.call.greeting_sent
    line.says("r0", audio(2000))
    line.run(40)
    assert line.call.greeting_sent
    assert not line.call.user_has_spoken
    line.run(800)
    line.caller_starts()
    assert line.call.user_has_spoken
    assert line.decisions[0].label == "GREETING"


def test_a_response_nobody_asked_for_is_accepted_and_takes_the_slot() -> None:
    """A server that answers by itself is heard; the next request waits for its end."""
    line = Line(QUIET)
    line.tell(ResponseCreated("r9", None))
    line.says("r9", audio(100))
    turn(line)
    assert line.of(RequestResponse) == []
    line.ends("r9")
    assert len(line.of(RequestResponse)) == 1
    line.run(500)
    assert line.heard == audio(100)
    assert line.call.label(line.now_ns) == "AI_TALK"


# --------------------------------------------------------------------------- caller audio


def test_caller_audio_before_the_session_is_kept_and_released_in_order() -> None:
    """What the caller says before the AI is ready reaches it, in order, before anything newer."""
    line = Line(QUIET, start=False)
    line.call.handle(line_started(line), line.now_ns)
    line.perform()
    payloads = [PAYLOAD[:-4] + f"{number:03d}=" for number in range(50)]
    for payload in payloads:
        assert not line.call.caller_audio(payload, FRAME_BYTES, 0, line.now_ns)
    line.tell(SessionCreated("s"))
    line.tell(SessionUpdated("audio/pcmu", "audio/pcmu"))
    (released,) = line.of(AppendCallerAudio)
    assert list(released.payloads) == payloads
    assert line.call.caller_audio(PAYLOAD, FRAME_BYTES, 0, line.now_ns)
    assert line.call.inbound.clock.appended_bytes == 51 * FRAME_BYTES


def test_caller_audio_kept_is_bounded_to_two_seconds() -> None:
    """Beyond 2 s the oldest kept audio is dropped and counted."""
    line = Line(QUIET, start=False)
    line.call.handle(line_started(line), line.now_ns)
    for _ in range(130):
        line.call.caller_audio(PAYLOAD, FRAME_BYTES, 0, line.now_ns)
    assert line.call.counts.caller_bytes_held_out == 30 * FRAME_BYTES


def test_a_refused_append_does_not_move_the_ai_clock() -> None:
    """Audio the AI's socket could not take is counted and not part of the AI's input clock."""
    line = Line(QUIET)
    assert line.call.caller_audio(PAYLOAD, FRAME_BYTES, 0, line.now_ns)
    line.call.append_refused(FRAME_BYTES)
    assert line.call.inbound.clock.appended_bytes == 0
    assert line.call.counts.caller_bytes_dropped == FRAME_BYTES


def test_silence_stands_for_what_the_ai_socket_refused() -> None:
    """Before the next frame as much 0xFF leaves as was refused: no later time is early by it."""
    line = Line(QUIET)
    for _ in range(3):
        assert line.call.caller_audio(PAYLOAD, FRAME_BYTES, 0, line.now_ns)
    line.call.append_refused(FRAME_BYTES)
    assert not line.call.caller_audio(PAYLOAD, FRAME_BYTES, 0, line.now_ns)
    (command,) = [one for one in line.call.take_commands() if isinstance(one, AppendCallerAudio)]
    assert command.payloads == (silence_base64(FRAME_BYTES), PAYLOAD)
    assert line.call.inbound.clock.appended_bytes == 4 * FRAME_BYTES
    assert line.call.caller_audio(PAYLOAD, FRAME_BYTES, 0, line.now_ns)


def test_refused_silence_is_owed_again_and_counted_once() -> None:
    """A socket that stays full costs each frame once; beyond 10 s silence is not made up for."""
    line = Line(QUIET)
    assert line.call.caller_audio(PAYLOAD, FRAME_BYTES, 0, line.now_ns)
    line.call.append_refused(FRAME_BYTES)
    for _ in range(600):
        assert not line.call.caller_audio(PAYLOAD, FRAME_BYTES, 0, line.now_ns)
        for command in line.call.take_commands():
            for payload in command.payloads if isinstance(command, AppendCallerAudio) else ():
                line.call.append_refused(inspect_base64(payload))
    assert line.call.counts.caller_bytes_dropped == 601 * FRAME_BYTES
    assert line.call.inbound.owed_bytes == 500 * FRAME_BYTES
    assert line.call.inbound.unpaid_bytes == 101 * FRAME_BYTES
    assert line.call.inbound.clock.appended_bytes == 0


def test_what_waited_leaves_before_the_frame_that_ends_the_doubt() -> None:
    """When no echo can come any more, what waited and the new frame leave in their order."""
    line = Line(dataclasses.replace(QUIET, detector="silero"))
    line.tell(EchoCancelling(is_on=True))
    line.call.line.arm()
    waiting = silence_base64(FRAME_BYTES)
    line.call.line.push(waiting, FRAME_BYTES, line.call.caller_ms, line.now_ns)
    assert not line.call.caller_audio(PAYLOAD, FRAME_BYTES, 0, line.now_ns)
    (command,) = [one for one in line.call.take_commands() if isinstance(one, AppendCallerAudio)]
    assert command.payloads == (waiting, PAYLOAD)


def line_started(line: Line) -> Event:
    """Return the `start` of a line's own stream, read through the wire."""
    event = line.stream.read(json.dumps(line.script.start()))
    assert isinstance(event, CarrierStarted)
    line.call.playout.ring.set_template(*line.stream.media_template())
    return event


# --------------------------------------------------------------------------- ends and errors


def test_a_session_without_mulaw_ends_the_call_with_a_clear_error() -> None:
    """A granted format other than audio/pcmu would be noise: the call ends and says why."""
    line = Line(QUIET, start=False)
    line.tell(line_started(line))
    line.tell(SessionUpdated("audio/pcmu", "audio/pcm"))
    assert line.closed == "ai_format_refused"
    (note,) = [one for one in line.of(Noted) if one.level == "error"]
    assert dict(note.fields)["output_format"] == "audio/pcm"


def test_a_refused_ai_closes_the_carrier_at_once() -> None:
    """With nothing queued the carrier goes on behind `</Connect>` without waiting."""
    line = Line(QUIET)
    line.tell(AiLost("connection refused", refused=True))
    assert line.closed == "ai_refused"


def test_a_lost_ai_lets_what_is_queued_be_heard_first() -> None:
    """The AI's socket dies in mid-answer: what came is played, then the carrier is closed."""
    line = Line(QUIET)
    turn(line)
    line.response("r1")
    line.says("r1", audio(1500)[:-40])
    line.run(200)
    line.tell(AiLost("gone"))
    assert line.closed == ""
    line.run(3000)
    assert line.closed == "ai_lost"
    assert line.heard.rstrip(b"\xff") == audio(1500)[:-40]
    line.tell(AiLost("again"))
    assert len(line.of(CloseCarrier)) == 1


def test_the_carriers_stop_ends_everything_once() -> None:
    """`stop` closes both legs, empties the ring, and nothing happens afterwards."""
    line = Line(QUIET)
    turn(line)
    line.answers("r1", audio(3000))
    line.run(300)
    line.tell(CarrierStopped("carrier_stopped"))
    assert line.call.has_ended
    assert line.call.end_reason == "carrier_stopped"
    assert len(line.of(CloseAi)) == 1
    sent = line.call.counts.frames_sent
    line.tell(CarrierStopped("carrier_lost"))
    line.tell(AiLost("closed"))
    line.tell(ResponseCreated("r2", None))
    turn(line, "late")
    line.caller_starts()
    line.run(500)
    assert line.call.counts.frames_sent == sent
    assert len(line.of(CloseCarrier)) == 1
    assert line.call.playout.ring.readable_bytes == 0


def test_benign_ai_errors_are_counted_and_not_fatal() -> None:
    """Errors that belong to normal barge-ins do not end or disturb the call."""
    line = Line(QUIET)
    for code in ("response_cancel_not_active", "conversation_already_has_active_response"):
        line.tell(AiErrored(code, "text", "c-r1"))
    assert line.call.counts.ai_errors_benign == 2
    line.tell(AiErrored("server_error", "text"))
    assert line.call.counts.ai_errors == 1
    assert line.closed == ""


def test_an_active_response_in_the_way_is_waited_for() -> None:
    """`conversation_already_has_active_response`: the request is made again at its end."""
    line = Line(QUIET)
    turn(line)
    line.tell(AiErrored("conversation_already_has_active_response", "resp_x is active", "r-0"))
    assert len(line.of(RequestResponse)) == 1
    line.ends("resp_x")
    assert [one.turn for one in line.of(RequestResponse)] == [0, 1]


def test_a_refused_request_frees_the_slot() -> None:
    """A request the AI refuses for another reason does not block the next one."""
    line = Line(QUIET)
    turn(line)
    line.tell(AiErrored("rate_limit_exceeded", "slow down", "r-0"))
    turn(line, "item_2")
    assert [one.turn for one in line.of(RequestResponse)] == [0, 1]


def test_a_request_never_answered_is_made_again_and_then_the_call_goes_on_elsewhere() -> None:
    """Dead air has an end: a lost request is made once more after `answer_patience_s`."""
    line = Line(QUIET)
    turn(line)
    line.run(4_900)
    assert len(line.of(RequestResponse)) == 1
    line.run(200)
    assert line.call.counts.requests_lost == 1
    assert [one.turn for one in line.of(RequestResponse)] == [0, 1]
    line.run(5_100)
    assert line.call.counts.requests_lost == 2
    assert line.call.counts.answers_retried == 1
    assert line.closed == "ai_gives_no_answer"


def test_a_lost_request_makes_room_for_the_wish_that_waits() -> None:
    """One request follows a lost one, not two: the wish that waited is that of the latest turn."""
    line = Line(QUIET)
    turn(line)
    turn(line, "item_2")
    line.run(5_100)
    assert [one.turn for one in line.of(RequestResponse)] == [0, 1]
    line.response("r1")
    line.says("r1", audio(100))
    line.ends("r1")
    line.run(12_000)
    assert len(line.of(RequestResponse)) == 2
    assert line.closed == ""


def test_an_answer_that_begins_and_says_nothing_is_cancelled_and_asked_for_again() -> None:
    """`response.created` is no sound: what brings nothing for 5 s is given up, by id."""
    line = Line(QUIET)
    turn(line)
    line.response("r1")
    line.run(5_100)
    assert [one.response_id for one in line.of(CancelResponse)] == ["r1"]
    assert len(line.of(RequestResponse)) == 1
    line.says("r1", audio(100))
    line.ends("r1", "cancelled")
    assert line.call.counts.stale_deltas_dropped == 1
    assert [one.turn for one in line.of(RequestResponse)] == [0, 1]


@pytest.mark.parametrize("kind", ["audio", "item"])
def test_an_answer_that_has_begun_has_more_patience(kind: str) -> None:
    """Whatever shows that the AI works on an answer keeps it from being given up after 5 s."""
    line = Line(QUIET)
    turn(line)
    line.response("r1")
    line.run(4_000)
    if kind == "audio":
        line.says("r1", audio(100))
    else:
        line.tell(ItemAdded("r1", "item_f", "function_call"))
    line.run(20_000)
    assert line.of(CancelResponse) == []
    assert line.call.counts.requests_lost == 0


def test_an_answer_without_a_word_is_asked_for_once_more() -> None:
    """Completed, but empty: the caller hears nothing, so it counts as no answer."""
    line = Line(QUIET)
    turn(line)
    line.response("r1")
    line.ends("r1")
    assert line.call.counts.responses_empty == 1
    assert [one.turn for one in line.of(RequestResponse)] == [0, 1]
    line.response("r2")
    line.ends("r2")
    line.run(20)
    assert line.closed == "ai_gives_no_answer"


def test_a_request_refused_is_made_again_after_a_while() -> None:
    """A refused request (a limit of the rate) is no answer: once more, not at once."""
    line = Line(QUIET)
    turn(line)
    line.tell(AiErrored("rate_limit_exceeded", "slow down", "r-0"))
    line.run(4_900)
    assert len(line.of(RequestResponse)) == 1
    line.run(200)
    assert [one.turn for one in line.of(RequestResponse)] == [0, 1]
    line.tell(AiErrored("rate_limit_exceeded", "slow down", "r-1"))
    line.run(5_100)
    assert line.closed == "ai_gives_no_answer"


def test_a_refused_truncate_is_sent_once_more_after_the_response_ended() -> None:
    """A truncate refused while its item is in progress follows `response.done`, once."""
    line = Line(QUIET)
    turn(line)
    line.response("r1")
    line.says("r1", audio(5000))
    line.run(1500)
    line.caller_starts()
    line.run(line.rtt_ms)
    line.tell(AiErrored("invalid_value", "item is in progress", "t-item_r1"))
    assert len(line.of(TruncateItem)) == 1
    line.ends("r1", "cancelled")
    first, second = line.of(TruncateItem)
    assert first == second
    line.tell(AiErrored("invalid_value", "still no", "t-item_r1"))
    assert len(line.of(TruncateItem)) == 2
    assert line.call.counts.truncates_refused == 2


def test_a_truncate_longer_than_the_servers_audio_is_corrected_once() -> None:
    """The server has less audio than it sent: the retry takes its number, and is not fatal."""
    line = Line(QUIET)
    turn(line)
    line.answers("r1", audio(5000))
    line.run(1500)
    line.caller_starts()
    line.run(line.rtt_ms)
    (first,) = line.of(TruncateItem)
    text = f"Audio content of {first.audio_end_ms - 85}ms is already shorter than x"
    line.tell(AiErrored("invalid_value", text, "t-item_r1"))
    assert line.of(TruncateItem)[1].audio_end_ms == first.audio_end_ms - 85
    line.tell(ItemTruncated("item_r1", first.audio_end_ms - 85))


def test_start_must_come_in_time() -> None:
    """A socket that never starts its stream is closed."""
    line = Line(QUIET, start=False)
    line.run(5_100)
    assert line.closed == "start_timeout"


def test_a_carrier_that_falls_silent_is_a_zombie() -> None:
    """No caller audio for `carrier_silence_s`: the call ends, the AI is not billed on."""
    line = Line(dataclasses.replace(QUIET, carrier_silence_s=2.0))
    line.run(1000)
    line.caller_talks = False
    line.run(2100)
    assert line.closed == "carrier_silent"


def test_the_longest_call_ends_after_its_last_words() -> None:
    """At `call_seconds_max` the queued answer is still heard, then the call ends."""
    line = Line(dataclasses.replace(QUIET, call_seconds_max=2))
    line.run(1500)
    turn(line)
    line.answers("r1", audio(1500))
    line.run(4000)
    assert line.closed == "duration_max"
    assert line.heard.rstrip(b"\xff") == audio(1500)


def test_an_expired_ai_session_drains_and_closes() -> None:
    """`session_expired` is announced by the AI: what is queued is heard, then the call ends."""
    line = Line(QUIET)
    turn(line)
    line.answers("r1", audio(500))
    line.tell(AiErrored("session_expired", "60 minutes"))
    line.run(1500)
    assert line.closed == "ai_session_expired"
    assert line.heard == audio(500)


def test_hang_up_waits_for_the_last_byte_but_not_for_ever() -> None:
    """A carrier that never plays is left after the remaining audio plus 2 s."""
    line = Line(QUIET)
    turn(line)
    line.answers("r1", audio(1000))
    line.run(100)
    line.call.hang_up("done", line.now_ns)
    line.call.hang_up("twice", line.now_ns)
    line._beat = lambda: line.call.tick(line.now_ns)  # type: ignore[method-assign]
    line.call.playout.lead_bytes = 0
    line.run(3_500)
    line.perform()
    assert line.closed == "done"


def test_digits_and_unknown_marks_are_counted() -> None:
    """DTMF is counted; a mark we never sent means nothing."""
    line = Line(QUIET)
    line.tell(DigitPressed("5"))
    line.tell(MarkEchoed("somebody else's"))
    assert line.call.counts.digits == 1
    assert line.call.playout.marks.unknown == 1


def test_the_first_mark_measures_the_round_trip() -> None:
    """A probe mark into the empty buffer comes back after one round trip."""
    line = Line(QUIET, rtt_ms=120)
    assert isinstance(line.of(SendMark)[0], SendMark)
    line.run(200)
    assert line.call.playout.clock.lowest_lag_ns == 120 * 1_000_000


def test_failed_and_incomplete_answers_are_counted() -> None:
    """`failed` and `incomplete` are no reason to stop the call; they are counted."""
    line = Line(QUIET)
    turn(line)
    line.response("r1")
    line.says("r1", audio(100))
    line.tell(ResponseEnded("r1", "failed", "server_error"))
    turn(line, "item_2")
    line.response("r2")
    line.says("r2", audio(100))
    line.tell(ResponseEnded("r2", "incomplete", "max_output_tokens"))
    assert line.call.counts.responses_failed == 2
    assert line.closed == ""


def test_an_answer_that_fails_without_a_word_is_asked_for_once_more() -> None:
    """Dead air has an end: one retry, then the carrier goes on behind `</Connect>`."""
    line = Line(QUIET)
    turn(line)
    line.response("r1")
    line.ends("r1", "failed")
    assert len(line.of(RequestResponse)) == 2
    line.response("r2")
    line.ends("r2", "failed")
    line.run(20)
    assert line.closed == "ai_gives_no_answer"
    assert line.call.counts.answers_retried == 1


# --------------------------------------------------------------------------- when the AI misbehaves


def test_a_refused_session_ends_the_call() -> None:
    """An error about our `session.update` before the session was granted: no mute call."""
    line = Line(QUIET, start=False)
    line.tell(line_started(line))
    line.tell(AiErrored("invalid_value", "no such voice", "s-0"))
    assert line.closed == "ai_session_refused"


def test_a_session_never_granted_ends_the_call() -> None:
    """Neither granted nor refused: the call ends when patience does."""
    line = Line(QUIET, start=False)
    line.tell(line_started(line))
    line.run(20_100)
    assert line.closed == "ai_session_timeout"


def test_event_ids_that_look_like_numbers_are_no_turns() -> None:
    """Hostile event ids are read as text: digits of other scripts, numbers without end."""
    line = Line(QUIET)
    for rest in ("\u00b2", "9" * 5000, "-1", ""):
        line.tell(AiErrored("server_error", "text", f"r-{rest}"))
    assert line.closed == ""
    turn(line)
    assert len(line.of(RequestResponse)) == 1


def test_a_response_announced_twice_is_counted_and_ignored() -> None:
    """A finished or dead response does not come back to life."""
    line = Line(QUIET)
    turn(line)
    line.answers("r1", audio(100))
    line.run(600)
    line.tell(ResponseCreated("r1", None))
    assert not line.is_ai_speaking
    assert line.call.counts.responses_repeated == 1
    turn(line, "item_2")
    assert len(line.of(RequestResponse)) == 2


def test_a_cancelled_response_that_never_ends_frees_the_slot() -> None:
    """`response.done` got lost: after 5 s the next turn is asked for all the same."""
    line = Line(QUIET)
    turn(line)
    line.response("r1")
    line.says("r1", audio(5000))
    line.run(1000)
    line.caller_starts()
    turn(line, "item_2")
    assert len(line.of(RequestResponse)) == 1
    line.run(5_100)
    assert len(line.of(RequestResponse)) == 2


def test_an_answer_faster_than_our_request_does_not_swallow_the_turn() -> None:
    """An unasked answer takes the slot, ours is refused: it is asked for again behind it."""
    line = Line(QUIET)
    turn(line)
    line.tell(ResponseCreated("r9", None))
    line.tell(AiErrored("conversation_already_has_active_response", "r9 is active", "r-0"))
    line.ends("r9")
    assert len(line.of(RequestResponse)) == 2


def test_truncate_stays_below_the_truth_after_a_network_stall() -> None:
    """While echoes are overdue only marks count: a stalled carrier has not played on."""
    for stall_ms in (200, 500, 1000, 3000):
        line = Line(QUIET)
        turn(line)
        line.answers("r1", audio(12_000))
        line.run(1500)
        line.to_carrier_stall_ns = line.now_ns + stall_ms * 1_000_000
        line.run(stall_ms - 20)
        line.caller_starts()
        line.run(stall_ms + 500)
        for truncate in line.of(TruncateItem):
            assert truncate.audio_end_ms <= len(line.heard) // 8


def test_hang_up_waits_for_the_last_mark() -> None:
    """The last words are at the carrier, late: the close waits for their echo, within 2 s."""
    line = Line(QUIET)
    turn(line)
    line.answers("r1", audio(1500))
    line.run(1300)
    line.to_carrier_stall_ns = line.now_ns + 600 * 1_000_000
    line.call.hang_up("done", line.now_ns)
    line.run(3000)
    assert line.closed == "done"
    (closed_ms,) = (ms for ms, command in line.done if isinstance(command, CloseCarrier))
    ear_ms = line.carrier.record.runs[-1].end_ns // 1_000_000 - 10_000
    assert closed_ms >= ear_ms
    assert line.heard == audio(1500)


def test_an_open_item_heard_so_far_is_truncated_too() -> None:
    """All received audio was heard, more is on its way: the AI must not believe the rest."""
    line = Line(QUIET)
    turn(line)
    line.response("r1")
    line.says("r1", audio(1000))
    line.run(2500)
    line.caller_starts()
    (truncate,) = line.of(TruncateItem)
    assert truncate.audio_end_ms == 1000


def test_an_answer_cut_by_a_full_backlog_is_truncated_to_what_fits() -> None:
    """The AI learns, at the end of the cancelled response, how much of it was accepted."""
    line = Line(QUIET, ring=MulawRing())
    turn(line)
    line.response("r1")
    line.says("r1", audio(2900))
    line.says("r1", audio(200, seed=2))
    line.ends("r1", "cancelled")
    assert [one.audio_end_ms for one in line.of(TruncateItem)] == [2900]


def test_a_free_sound_beside_a_doubted_one_commits_once() -> None:
    """A doubted sound is parked, a free one follows: one interruption, not two."""
    line = Line(QUIET)
    line.run(500)
    turn(line)
    line.answers("r1", audio(8000))
    line.run(700)
    line.caller_starts(ago_ms=450)
    assert line.decisions == []
    line.caller_starts(ago_ms=20, item="item_d")
    line.run(600)
    assert [one.outcome for one in line.decisions] == ["committed"]
