"""The call: every decision between a caller and the AI, without I/O, without a clock.

The contract: after every call into a `Call`, perform `take_commands()` before the next. Audio goes
by argument and return value; control goes by event and command objects. `tick(now_ns)` is the
timer: each deadline of a call is a comparison with `now_ns`.

`Answering` below it carries the answers; here stand the caller's sounds and what they end.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

from fastbridge._clocks import Levels
from fastbridge._ring import MulawRing
from fastbridge.barge_in import Judge
from fastbridge.call_life import NEVER_NS
from fastbridge.config import Settings
from fastbridge.echo_guard import EchoGuard
from fastbridge.events import (
    BargeInConfirmed,
    BargeInDecided,
    BargeInHeld,
    CancelResponse,
    CarrierStarted,
    ClearCarrier,
    CommitInput,
    DeleteItem,
    EarsBehind,
    EchoMeasured,
    InputCommitted,
    MarkEchoed,
    SpeechScore,
    SpeechStarted,
    SpeechStopped,
    TranscriptHeard,
)
from fastbridge.evidence import Evidence
from fastbridge.greeting_protection import PARAMETER, GreetingProtection
from fastbridge.kept_talk import KeptTalk
from fastbridge.mulaw import BYTES_PER_MS, FRAME_MS, NS_PER_MS, bytes_of_ms
from fastbridge.requester import AI_TALK, GREETING, Ask
from fastbridge.speech import SileroRules, Spurt, Stage
from fastbridge.talk import Act, Candidate, End, State
from fastbridge.telling import Telling

# After a commit by our own ears the AI must end the caller's turn: so long after the sound's end,
# and so much longer while it goes on.
TURN_PATIENCE_NS: Final = 1_500 * NS_PER_MS
REPORT_PATIENCE_NS: Final = 1_000 * NS_PER_MS
# A turn of which the AI reports the beginning and no end is taken for over after so long.
SPEECH_PATIENCE_NS: Final = 30_000 * NS_PER_MS
# What a false hold adds to the bar of the local detector (a probability).
FALSE_HOLD_STEP: Final = 0.05


@dataclass(slots=True)
class _Clear:
    """The latest clear, until the carrier has confirmed it; and the sound it was for."""

    fence: str
    generation: int
    sound: Candidate


class Call(KeptTalk):
    """One bridged call: the answers, and the caller who may interrupt them."""

    def __init__(self, settings: Settings, ring: MulawRing, now_ns: int) -> None:
        super().__init__(settings, ring, now_ns)
        self.echo = EchoMeasured(has_echo=False)
        # When the bridge ends the caller's turn itself, should the AI not have heard it.
        self._turn_due_ns = NEVER_NS
        self._is_turn_forced = False
        # The AI hears the caller's turn, at most until then.
        self._heard_until_ns = 0
        self.evidence = Evidence()
        self.guard = EchoGuard(settings.echo_window_ms)
        self.judge = Judge(settings)
        # Caller items judged to be no speech, and those whose turn ended before the verdict.
        self._noise_items: deque[str] = deque(maxlen=16)
        self._early_items: deque[str] = deque(maxlen=16)
        self._clear: _Clear | None = None
        self._protection = GreetingProtection.of(settings)
        # A sound that began under it and goes on: judged when the protection is over.
        self._protected: Candidate | None = None
        # The levels of the latest caller frames: a sound is reported after it began.
        # When the caller's latest sound ended, as our own ears heard it; 0: none did.
        self._quiet_since_ns = 0
        self._levels = Levels()
        self._padding_ms = settings.vad_prefix_padding_ms
        # Where the AI's latest turn ended on its own clock: no padding of the next reaches back.
        self._turn_end_ms = 0
        is_server_vad = settings.turn_detection == "server_vad"
        self._silence_ms = settings.vad_silence_ms if is_server_vad else 0
        self._doors |= {
            MarkEchoed: self._on_mark,
            SpeechStarted: self._on_speech_started,
            SpeechStopped: self._on_speech_stopped,
            TranscriptHeard: self._on_transcript,
            SpeechScore: self._on_score,
            EarsBehind: self._on_ears_behind,
            EchoMeasured: self._on_echo,
            InputCommitted: self._on_input_committed,
        }

    def _tick_sound(self, now_ns: int) -> None:
        """Run the deadlines of the sound that is being judged, and of a turn nobody ended."""
        self._tell_if_due(now_ns)
        if self._protected is not None and not self._is_protected(now_ns):
            self._judge_protected(self._protected, now_ns)
        if now_ns >= self._turn_due_ns:
            if self.rules is not None and self.rules.stage is not Stage.QUIET:
                self._turn_due_ns = now_ns + TURN_PATIENCE_NS  # the caller is still speaking
            else:
                self._force_turn(now_ns)
        if self.judge.candidate is None:
            return
        self._watch_sound(now_ns)
        self._act(self.judge.due(self.state(now_ns), now_ns), now_ns)
        if self.judge.candidate is not None and not self._can_be_interrupted(now_ns):
            self._act(self.judge.gone(self.state(now_ns)), now_ns)

    @property
    def _is_judging(self) -> bool:
        return self.judge.candidate is not None

    def _force_turn(self, now_ns: int) -> None:
        """We stopped the AI for speech it never heard: end the turn for it, and ask."""
        self._turn_due_ns = NEVER_NS
        if self._closing or self._can_be_interrupted(now_ns):
            return
        self.counts.turns_forced += 1
        self._is_turn_forced = True
        self.wait.begin("turn", self._quiet_since_ns or now_ns, now_ns)
        self._note("the AI did not hear the caller's turn: ended by the bridge", "warning")
        self._commands.append(CommitInput())
        self._request(Ask(AI_TALK), now_ns)

    def _is_caller_speaking(self, now_ns: int) -> bool:
        """Say whether the caller's turn has begun: heard by the AI, or by us and not yet by it."""
        return now_ns < self._heard_until_ns or self._turn_due_ns != NEVER_NS

    def _forget_talk(self, now_ns: int) -> None:
        super()._forget_talk(now_ns)
        self._telling = None
        self.judge.close(now_ns, was_noise=False)

    def _hear_level(self, count: int, level: int, now_ns: int) -> None:
        self.caller_clock.append(count, now_ns)
        self._levels.hear(level)
        one = self.judge.candidate
        if one is not None and level > one.level and not one.ended_ns:
            one.level = level
        if self.rules is None:
            return
        if self.is_ready:
            self._level(level, now_ns)
            return
        # Nobody is answered yet, but the line's noise is learned before anybody speaks into it.
        self.rules.level(level, self.caller_clock.appended_bytes // BYTES_PER_MS)
        self.rules.reset()
        self.rules.since_ms = self.caller_ms

    def _on_mark(self, event: MarkEchoed, now_ns: int) -> None:
        mark = self.playout.mark_echoed(event.name, now_ns, self.counts.caller_frames)
        self._tell_if_proven(now_ns)
        if mark is not None and self.wait.kind and mark.due_ns > self.playout.talk_start_ns:
            playout = self.playout
            self.wait.heard(playout.talk_start_ns, playout.clock.lowest_lag_ns)
        if mark is not None and self._clear is not None and mark.name == self._clear.fence:
            clear, self._clear = self._clear, None
            one = clear.sound
            one.confirmed_ns = now_ns
            was_decided = one is not self.judge.candidate
            self._commands.append(
                BargeInConfirmed(
                    generation=clear.generation,
                    trigger_ns=one.trigger_ns,
                    confirmed_ns=now_ns,
                    candidate=one.number,
                    was_decided=was_decided,
                    onset_ns=one.onset_ns,
                    was_audible=one.was_audible,
                    onset_ms=one.onset_ms,
                    confirmed_ms=self.caller_ms,
                )
            )

    # ----------------------------------------------------------------- the caller speaks

    def _can_be_interrupted(self, now_ns: int) -> bool:
        """Say whether an answer is wanted, being made, or still to be heard."""
        return self.requester.awaits() or self.is_ai_speaking(now_ns)

    def _on_speech_started(self, event: SpeechStarted, now_ns: int) -> None:
        """Take the AI's report of a sound.

        `audio_start_ms` contains the detector's padding, which is not speech: the onset lies
        `prefix_padding_ms` later (protocol: input audio buffer, speech_started). Right behind a
        turn, or the beginning, there was no room for padding: it may have begun at once.
        """
        self._turn_due_ns = NEVER_NS  # it hears the caller: it ends the turn itself
        if self._is_deaf or not self.is_ready:
            return
        is_cut = abs(event.audio_start_ms - self._turn_end_ms) < FRAME_MS
        padding_ms = 0 if is_cut else self._padding_ms
        input_bytes = bytes_of_ms(max(event.audio_start_ms, 0) + padding_ms)
        onset_ns = self.inbound.clock.arrival_ns(input_bytes, now_ns)
        onset_ms = self._caller_ms_of(input_bytes)
        self.evidence.started(event.item_id)
        if self.judge.candidate is None:
            was_noise = self.judge.verdict_on(onset_ns)
            if was_noise is not None:
                if was_noise:
                    self._noise_items.append(event.item_id)
                else:
                    self._heard_until_ns = now_ns + SPEECH_PATIENCE_NS
                return
            if self._is_our_echo(onset_ms, now_ns):
                one = Candidate(onset_ns, now_ns, is_local=False, onset_ms=onset_ms)
                self._reject_echo(event.item_id, one, now_ns)
                return
        self._heard_until_ns = now_ns + SPEECH_PATIENCE_NS
        self._sound(onset_ns, onset_ms, now_ns, is_local=False, item_id=event.item_id)

    def _is_our_echo(self, onset_ms: int, now_ns: int) -> bool:
        """Say whether the AI's report is our own voice: it hears this call's echo, we do not.

        Only where an echo path was found, and while the AI is audible.
        """
        hears_echo = self.echo.has_echo and self.playout.is_audible(now_ns)
        return hears_echo and self._hears_nobody(onset_ms, now_ns)

    def _may_be_our_echo(self, one: Candidate, now_ns: int) -> bool:
        """Say whether the AI alone hears a sound while an echo is taken out, or looked for."""
        is_doubted = self.is_echo_cancelled and not one.is_local
        return is_doubted and self._hears_nobody(one.onset_ms, now_ns)

    def _hears_nobody(self, onset_ms: int, now_ns: int) -> bool:
        """Say whether our own ears, on echo-cancelled or guarded audio, suspect nothing.

        Ears that are blind, or have yet to look at where the sound began, suspect nothing of
        anybody.
        """
        if isinstance(self.rules, SileroRules) and self.rules.scored_ms < onset_ms:
            return False
        return self._is_quiet and not self.evidence.is_blind(now_ns)

    def _reject_echo(self, item_id: str, one: Candidate, now_ns: int) -> None:
        """Let the answer go on; a sound of ours that begins meanwhile takes the item over."""
        self.evidence.echoed(item_id, now_ns)
        self._noise_items.append(item_id)
        self.counts.barge_ins_ignored += 1
        self._record(self.judge.numbered(one), "ignored", "echo", now_ns)

    def _sound(
        self, onset_ns: int, onset_ms: int, now_ns: int, *, is_local: bool, item_id: str = ""
    ) -> None:
        """Judge a sound that began: a turn, an interruption, or one to be doubted for a while."""
        state = self.state(now_ns)
        if state is not State.SILENT and self._is_protected(now_ns):
            begun = Candidate(onset_ns, now_ns, is_local, onset_ms)
            if item_id:
                begun.items[item_id] = None
            self._ignore_for_greeting(begun, now_ns)
            return
        doubt = self.guard.judge(onset_ns, self.playout, now_ns)
        act = self.judge.onset(
            state,
            onset_ns,
            now_ns,
            onset_ms=onset_ms,
            doubt=doubt,
            is_local=is_local,
            item_id=item_id,
            since_ms=0 if self.rules is None else self.rules.since_ms,
        )
        one = self.judge.candidate
        if one is not None and not one.level:
            one.level = self._levels.loudest()
        self._act(act, now_ns)

    # ----------------------------------------------------------------- our own detector

    @property
    def caller_level(self) -> int:
        """Return the level of the caller's latest frame (mean 14-bit amplitude)."""
        return self._levels.latest()

    def wants_detector(self, now_ns: int) -> bool:
        """Say whether a local detector should listen.

        Only while there is what to interrupt, or a turn whose end the AI may not have heard.
        """
        if self.rules is None:
            return False
        # `state(now_ns) is not SILENT`, the cheapest question first: this is asked per frame.
        return (
            self._turn_due_ns != NEVER_NS
            or bool(self.responses.live)
            or self.requester.awaits()
            or self.playout.ring.holds()
            or self.playout.is_playing(now_ns)
            or self.line.is_armed
        )

    def _level(self, level: int, now_ns: int) -> None:
        """Let the rules hear every frame's level; they keep the noise floor by it."""
        rules = self.rules
        assert rules is not None  # noqa: S101  the caller has looked
        doubts = self.echo.has_echo and not self.is_echo_cancelled
        rules.is_guarded = doubts and self.playout.is_audible(now_ns)
        if self._hears_cleaned:
            return
        if rules.sounds() and isinstance(rules, SileroRules):
            # Scores are late when the audio behind them came long ago, not when it came in one go.
            came_ns = self.caller_clock.arrival_ns(bytes_of_ms(rules.scored_ms), now_ns)
            rules.is_catching_up = now_ns - came_ns < rules.limits.scores_late_ms * NS_PER_MS
        spurt = rules.level(level, self.caller_clock.appended_bytes // BYTES_PER_MS)
        if spurt is not None:
            self._spurt(spurt, now_ns)

    def _on_score(self, event: SpeechScore, now_ns: int) -> None:
        if self.rules is not None and self.is_ready:
            spurt = self.rules.score(event.at_ms, event.probability)
            if spurt is not None:
                self._spurt(spurt, now_ns)

    def _on_ears_behind(self, event: EarsBehind, now_ns: int) -> None:
        self.evidence.ears_behind(is_behind=event.is_behind, now_ns=now_ns)

    def _on_echo(self, event: EchoMeasured, _: int) -> None:
        """Take the probe's answer: with an echo path, our own voice must not count as a caller."""
        if event.has_echo != self.echo.has_echo:
            fields = (("has_echo", event.has_echo), ("delay_ms", event.delay_ms))
            self._note("echo path measured", "info", *fields, ("loss_db", event.loss_db))
        self.echo = event

    def _spurt(self, spurt: Spurt, now_ns: int) -> None:
        """A sound of the caller changed its stage: suspected, sure, or ended."""
        if self._is_deaf and spurt.stage is not Stage.ENDED:
            return
        one = self.judge.candidate
        self._spurt_began_ms = spurt.began_ms
        if spurt.stage is Stage.SURE:
            self._let_through(spurt.began_ms)
        if one is not None:
            one.probability = max(one.probability, spurt.peak)
        if spurt.stage is Stage.ENDED:
            self._spurt_ended(spurt, now_ns)
            return
        if one is not None and one.is_local:
            self._goes_on(one, spurt, now_ns)
            return
        assert self.rules is not None  # noqa: S101  the spurt is theirs
        is_late = self.evidence.is_late(spurt, self.caller_clock, now_ns)
        # Of a short sound that is over long ago nobody wants to hear.
        is_over = is_late and not self.rules.is_noisy and spurt.sound_ms < self.settings.resume_ms
        needs_more = self.judge.is_stuttering(now_ns) or self.rules_guarded or is_over
        if self.state(now_ns) is State.SILENT or (needs_more and spurt.stage is not Stage.SURE):
            return
        onset_ns = self.caller_clock.arrival_ns(bytes_of_ms(spurt.began_ms), now_ns)
        if one is None and self.judge.verdict_on(onset_ns) is False:
            return  # the AI's report of this sound was faster, and committed
        if one is None and is_late and self.evidence.is_old_news(spurt, onset_ns):
            return
        self._sound(onset_ns, spurt.began_ms, now_ns, is_local=True)
        one = self.judge.candidate
        if one is not None:
            one.is_sure = spurt.stage is Stage.SURE
            item_id = self.evidence.rejected_item(self._noise_items, now_ns)
            if item_id:
                one.items[item_id] = None
            while item_id in self._noise_items:  # a report may come twice
                self._noise_items.remove(item_id)

    def _goes_on(self, one: Candidate, spurt: Spurt, now_ns: int) -> None:
        """Take more of the sound that is judged; a sure part reopens one that waits, no click."""
        if spurt.stage is not Stage.SURE:
            return
        one.is_sure = True
        if one.ended_ns:
            onset_ns = self.caller_clock.arrival_ns(bytes_of_ms(spurt.began_ms), now_ns)
            self._sound(onset_ns, spurt.began_ms, now_ns, is_local=True)

    def _spurt_ended(self, spurt: Spurt, now_ns: int) -> None:
        """The caller's sound is over: when it ended counts, not when that became known."""
        if self._turn_due_ns != NEVER_NS:
            self._turn_due_ns = now_ns + TURN_PATIENCE_NS
        is_known = spurt.was_sure or spurt.is_by_level
        end_ms = spurt.ended_ms if is_known else spurt.began_ms
        self._quiet_since_ns = ended_ns = self.caller_clock.arrival_ns(bytes_of_ms(end_ms), now_ns)
        self._protected = None
        one, rules = self.judge.candidate, self.rules
        # One that has ended waits for a verdict: what ends now never was a part of it.
        if one is None or rules is None or not one.is_local or one.ended_ns:
            return
        ended = ended_ns, end_ms
        is_late = self.evidence.is_late(spurt, self.caller_clock, now_ns)
        if not self.evidence.is_end_doubted(one, rules, ended, is_late=is_late):
            self._end_sound(ended, now_ns)

    def _end_sound(self, ended: End, now_ns: int) -> None:
        """Let the judge know when, and where on the caller's clock, the sound ended."""
        act = self.judge.ended(self.state(now_ns), ended[0], now_ns, ended_ms=ended[1])
        self._act(act, now_ns)

    @property
    def rules_guarded(self) -> bool:
        """Say whether our own voice may be coming back right now."""
        return self.rules is not None and self.rules.is_guarded

    def _watch_sound(self, now_ns: int) -> None:
        """Let the evidence say whether the sound that is judged is over by now."""
        ended = self.evidence.watch(self.judge, self.rules, self.caller_clock, now_ns)
        if ended is not None:
            self._end_sound(ended, now_ns)

    def _on_speech_stopped(self, event: SpeechStopped, now_ns: int) -> None:
        """Take the AI's report that a sound ended; its own silence window is not sound."""
        self._turn_end_ms = event.audio_end_ms
        input_bytes = bytes_of_ms(max(event.audio_end_ms - self._silence_ms, 0))
        ended = self.inbound.clock.arrival_ns(input_bytes, now_ns), self._caller_ms_of(input_bytes)
        self._forget_protected(event.item_id)
        if self.evidence.stopped(self.judge.candidate, event.item_id, ended):
            self._end_sound(ended, now_ns)

    def _on_transcript(self, event: TranscriptHeard, now_ns: int) -> None:
        """Take what the AI wrote down of a sound; it counts while that sound is being judged."""
        one, counts = self.judge.candidate, self.counts
        counts.transcripts += event.verdict != "failed"
        counts.transcripts_failed += event.verdict == "failed"
        if one is not None and event.item_id in one.items:
            state = self.state(now_ns)
            self._act(self.judge.written(state, event.item_id, event.verdict), now_ns)
        elif event.verdict == "words" and event.item_id in self._noise_items:
            counts.transcripts_late += 1
            self._note("words in a sound that was taken for noise: too late", "warning")

    def _on_input_committed(self, event: InputCommitted, now_ns: int) -> None:
        """The caller's turn ended: ask for an answer, unless the sound was judged no speech."""
        one = self.judge.candidate
        self._turn_due_ns = NEVER_NS
        self._heard_until_ns = 0
        self.evidence.committed(event.item_id)
        self._forget_protected(event.item_id)
        if self._is_turn_forced:
            self._is_turn_forced = False  # the answer was asked for already
        elif event.item_id in self._noise_items and self._was_judged(now_ns):
            self._tell([DeleteItem(event.item_id)])
        elif one is not None and event.item_id in one.items:
            self._early_items.append(event.item_id)
            self.judge.whole(now_ns)
            if self.settings.turn_detection == "semantic_vad":
                self._act(self.judge.confirmed(self.state(now_ns), "turn_end"), now_ns)
        elif self.is_ready:
            self.wait.begin("turn", self.evidence.stopped_ns or now_ns, now_ns)
            if self.settings.barge_in != "server":
                self._request(Ask(AI_TALK), now_ns)
            else:
                self._tell_heard(now_ns)  # it answers by itself, from here on

    def _was_judged(self, now_ns: int) -> bool:
        """Say whether a turn that began with a noise ended while an answer let us listen to it.

        What went on for long behind the answer nobody but the AI has heard: it is a turn.
        """
        is_silent = self.state(now_ns) is State.SILENT
        return not is_silent or self.evidence.ended_with(self.playout)

    # ----------------------------------------------------------------- verdicts

    def _act(self, act: Act, now_ns: int) -> None:
        """Do what the judge said."""
        if act is Act.HOLD:
            self._hold(now_ns)
        elif act is Act.COMMIT:
            self._commit(now_ns)
        elif act is Act.RESUME:
            self._resume(now_ns)
        elif act is Act.TURN:
            self.user_has_spoken = True
            if self._may_stay:
                self._stay()
        elif act is Act.IGNORE:
            one = self.judge.candidate
            if one is not None and one.is_parked:
                one.reason = "echo"
            self._reject("ignored", now_ns)
        elif act is Act.WITHDRAW:
            self._withdraw(now_ns)

    def _hold(self, now_ns: int) -> None:
        """Fall silent for a sound that is yet to be judged; nothing is lost."""
        one = self.judge.candidate
        assert one is not None  # noqa: S101  the judge holds for a candidate only
        if not self._may_be_our_echo(one, now_ns):  # else it goes on leaving cleaned
            self._let_sound_through(one)
        one.was_audible = self.playout.is_audible(now_ns)
        fence = self.playout.hold(now_ns)
        one.silent_ns = now_ns
        self.counts.holds += 1
        self._clear = _Clear(fence.name, self.generation, one)
        self._commands.append(ClearCarrier(fence.name, self.playout.edge))
        self._commands.append(BargeInHeld(one.onset_ns, one.trigger_ns, now_ns, one.number))

    def _resume(self, now_ns: int) -> None:
        """The sound was nothing: go on where the ear was."""
        rewound = self._go_on()
        self.counts.resumes += 1
        self._reject("resumed", now_ns, rewound_bytes=rewound)

    def _reject(self, outcome: str, now_ns: int, *, rewound_bytes: int = 0) -> None:
        """Close a candidate that was no speech: it gets no answer and leaves no item."""
        one = self.judge.close(now_ns, was_noise=True)
        if one is None:
            return
        self.counts.barge_ins_ignored += outcome == "ignored"
        self._heard_until_ns = 0
        self._noise_items.extend(one.items)
        if self.rules is not None and one.is_held:
            self.rules.raise_bar(FALSE_HOLD_STEP)
        early = [item for item in one.items if item in self._early_items]
        self._record(one, outcome, one.reason, now_ns, rewound_bytes=rewound_bytes)
        self._tell([DeleteItem(item) for item in early])

    def _withdraw(self, now_ns: int) -> None:
        """The answer went away while a sound was judged: the sound is an ordinary turn."""
        if self.playout.is_held:
            self._go_on()
        one = self.judge.close(now_ns, was_noise=False)
        if one is None:
            return
        self.user_has_spoken = True
        self._record(one, "withdrawn", "not_speaking", now_ns)
        self._answer_early(one, now_ns)

    def _answer_early(self, one: Candidate, now_ns: int) -> None:
        """Ask for the answer to a turn that had ended before its sound was judged."""
        if any(item in self._early_items for item in one.items):
            self._early_items.clear()
            self.wait.begin("turn", self.evidence.stopped_ns or now_ns, now_ns)
            if self.settings.barge_in != "server":
                self._request(Ask(AI_TALK), now_ns)

    def _commit(self, now_ns: int) -> None:
        """The answer ends: one function, finished before anything is written or awaited.

        Flush (ring, backlog, ledger, generation) -> carrier `clear` and fence mark, unless a
        hold has sent them -> cancel by id -> truncate what was partly heard, delete what was not
        heard at all, now or as soon as the carrier has proved it.
        """
        one = self.judge.close(now_ns, was_noise=False)
        assert one is not None  # noqa: S101  the judge commits a candidate only
        self._let_sound_through(one)
        label, was_held = self.label(now_ns), self.playout.is_held
        known = set(self.playout.items.items)
        one.was_audible = one.was_audible or self.playout.is_audible(now_ns)
        self.wait.forget()
        self._tell_heard(now_ns)  # of the answer before, should that still wait
        flushed, cut = self.playout.flush(now_ns)
        telling = self._cut_off(cut, one.number, now_ns)
        if not was_held:
            fence = self.playout.fence(now_ns)
            one.silent_ns = now_ns
            self._commands.append(ClearCarrier(fence.name, self.playout.edge))
            self._clear = _Clear(fence.name, self.generation, one)
        self.requester.withdraw(now_ns)
        self._again_due_ns = NEVER_NS
        dead = list(self.responses.live)
        if self.settings.barge_in != "server":
            self._commands += map(CancelResponse, dead)
        self.user_has_spoken = True
        if one.is_local and not one.items and self.settings.barge_in != "server":
            # The AI has not reported this sound: should it never do so, nobody ends the turn.
            self._turn_due_ns = now_ns + TURN_PATIENCE_NS + REPORT_PATIENCE_NS
        self.counts.barge_ins += 1
        self.counts.flushed_bytes += flushed
        self._record(
            one, "committed", one.reason, now_ns, telling=telling, flushed=flushed, label=label
        )
        self._amends.cut(known, dead)
        for response_id in dead:
            self._kill(response_id)
        self._tell_or_wait(telling)
        if self._may_stay:
            self._stay()
        self._answer_early(one, now_ns)

    def _record(
        self,
        one: Candidate,
        outcome: str,
        reason: str,
        now_ns: int,
        *,
        telling: Telling | None = None,
        flushed: int = 0,
        rewound_bytes: int = 0,
        label: str = "",
    ) -> None:
        """Emit the one decision every candidate ends with, and all that it was made from."""
        speech_ms = one.speech_ms
        self.counts.decisions_late += one.was_late
        if not one.ended_ns:
            # It goes on, or its end was never told: so long it has lasted.
            speech_ms = max(self.caller_ms - one.onset_ms, 0)
        peak = self.rules.peak if self.rules is not None else 0.0
        echo = self.echo
        self._commands.append(
            BargeInDecided(
                outcome=outcome,
                reason=reason,
                onset_ns=one.onset_ns,
                trigger_ns=one.trigger_ns,
                decided_ns=now_ns,
                generation=self.generation,
                heard_ms=0 if telling is None else telling.heard_ms,
                flushed_bytes=flushed,
                label=label or self.label(now_ns),
                speech_ms=speech_ms,
                rewound_bytes=rewound_bytes,
                source="local" if one.is_local else "server",
                candidate=one.number,
                level=one.level or self._levels.loudest(),
                probability=round(max(one.probability, peak), 3),
                has_echo=echo.has_echo,
                echo_delay_ms=echo.delay_ms,
                echo_loss_db=echo.loss_db,
                silent_ns=one.silent_ns,
                confirmed_ns=one.confirmed_ns,
                told_ns=now_ns if telling is not None and telling.is_proven else 0,
                is_late=one.was_late,
            )
        )

    # ----------------------------------------------------------------- greeting protection

    def _is_protected(self, now_ns: int) -> bool:
        """Say whether the greeting is playing, or wanted, and may not be interrupted."""
        is_greeting = self.label(now_ns) == GREETING
        return is_greeting and self._protection.holds(self._greeting_began_ns, now_ns)

    def _on_carrier_started(self, event: CarrierStarted, now_ns: int) -> None:
        """Take the call's own greeting protection, if it brings one."""
        value = event.parameters.get(PARAMETER)
        if value is not None:
            try:
                self._protection = self._protection.chosen(value)
            except ValueError as problem:
                used = ("used", self._protection.kind)
                self._note(
                    "a stream parameter is refused", "error", ("problem", str(problem)), used
                )
        super()._on_carrier_started(event, now_ns)

    def _judge_protected(self, one: Candidate, now_ns: int) -> None:
        """Judge a sound that outlasts the protection like any other: nobody is talked over.

        Our own ears know that it goes on. Of the AI, which tells an end late, it is believed only
        while the rest of the greeting plays.
        """
        self._protected = None
        is_sure = self.rules is not None and self.rules.stage is Stage.SURE
        is_told = self.label(now_ns) == GREETING and not self._is_our_echo(one.onset_ms, now_ns)
        goes_on = is_sure if one.is_local else is_told
        if not goes_on or not self._can_be_interrupted(now_ns):
            return
        item_id = next(iter(one.items), "")
        self._sound(one.onset_ns, one.onset_ms, now_ns, is_local=one.is_local, item_id=item_id)
        if self.judge.candidate is not None:
            self.judge.candidate.is_sure = is_sure

    def _forget_protected(self, item_id: str) -> None:
        """Take the AI's word that a sound which began under protection is over."""
        if self._protected is not None and item_id in self._protected.items:
            self._protected = None

    def _ignore_for_greeting(self, one: Candidate, now_ns: int) -> None:
        """Let the greeting go on; what the caller says is heard by the AI all the same."""
        known = self._protected
        if known is not None:  # more of the same sound
            known.is_local = known.is_local or one.is_local
            known.items |= one.items
            return
        self._protected = one
        self.counts.barge_ins_ignored += 1
        self._record(self.judge.numbered(one), "ignored", "greeting", now_ns)
