"""The call: every decision between a caller and the AI, without I/O, without a clock.

The contract: after every call into a `Call`, perform `take_commands()` before the next. Audio goes
by argument and return value; control goes by event and command objects. `tick(now_ns)` is the
timer: each deadline of a call is a comparison with `now_ns`.

Here stand the caller's sounds: who hears them, and which are doubted. What a verdict on them does
is `judged_talk`'s below it, the answers are `answering`'s.
"""

from __future__ import annotations

from fastbridge._ring import MulawRing
from fastbridge.call_life import NEVER_NS
from fastbridge.config import Settings
from fastbridge.echo_guard import EchoGuard
from fastbridge.events import (
    CarrierStarted,
    CommitInput,
    DeleteItem,
    EarsBehind,
    EchoMeasured,
    InputCommitted,
    SpeechScore,
    SpeechStarted,
    SpeechStopped,
    TranscriptHeard,
)
from fastbridge.greeting_protection import PARAMETER, GreetingProtection
from fastbridge.judged_talk import JudgedTalk
from fastbridge.mulaw import BYTES_PER_MS, NS_PER_MS, bytes_of_ms
from fastbridge.requester import AI_TALK, GREETING, Ask
from fastbridge.speech import SileroRules, Spurt, Stage
from fastbridge.talk import Candidate, End, State


class Call(JudgedTalk):
    """One bridged call: the answers, and the caller who may interrupt them."""

    def __init__(self, settings: Settings, ring: MulawRing, now_ns: int) -> None:
        super().__init__(settings, ring, now_ns)
        self.guard = EchoGuard(settings.echo_window_ms)
        self._protection = GreetingProtection.of(settings)
        # A sound that began under it and goes on: judged when the protection is over.
        self._protected: Candidate | None = None
        self._doors |= {
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
        if now_ns >= self.turn.due_ns:
            if self.rules is not None and self.rules.stage is not Stage.QUIET:
                self.turn.extend(now_ns)  # the caller is still speaking
            else:
                self._force_turn(now_ns)
        if self.judge.candidate is None:
            return
        self._watch_sound(now_ns)
        self._act(self.judge.due(self.state(now_ns), now_ns), now_ns)
        if self.judge.candidate is not None and not self._can_be_interrupted(now_ns):
            self._act(self.judge.gone(self.state(now_ns)), now_ns)

    def _force_turn(self, now_ns: int) -> None:
        """We stopped the AI for speech it never heard: end the turn for it, and ask."""
        self.turn.settle()
        if self._closing or self._can_be_interrupted(now_ns):
            return
        self.counts.turns_forced += 1
        self.turn.is_forced = True
        self.wait.begin("turn", self.turn.quiet_since_ns or now_ns, now_ns)
        self._note("the AI did not hear the caller's turn: ended by the bridge", "warning")
        self._commands.append(CommitInput())
        self._request(Ask(AI_TALK), now_ns)

    def _is_caller_speaking(self, now_ns: int) -> bool:
        """Say whether the caller's turn has begun: heard by the AI, or by us and not yet by it."""
        return self.turn.goes_on(now_ns)

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

    # ----------------------------------------------------------------- the caller speaks

    def _can_be_interrupted(self, now_ns: int) -> bool:
        """Say whether an answer is wanted, being made, or still to be heard."""
        return self.requester.awaits() or self.is_ai_speaking(now_ns)

    def _on_speech_started(self, event: SpeechStarted, now_ns: int) -> None:
        """Take the AI's report of a sound.

        `audio_start_ms` contains the detector's padding, which is not speech: the onset lies
        `prefix_padding_ms` later (protocol: input audio buffer, speech_started).
        """
        self.turn.settle()
        if self._is_deaf or not self.is_ready:
            return
        input_bytes = bytes_of_ms(self.turn.began_ms(event.audio_start_ms))
        onset_ns = self.inbound.clock.arrival_ns(input_bytes, now_ns)
        onset_ms = self._caller_ms_of(input_bytes)
        self.evidence.started(event.item_id)
        if self.judge.candidate is None:
            was_noise = self.judge.verdict_on(onset_ns)
            if was_noise is not None:
                if was_noise:
                    self._noise_items.append(event.item_id)
                else:
                    self.turn.begin(now_ns)
                return
            if self._is_our_echo(onset_ms, now_ns):
                one = Candidate(onset_ns, now_ns, is_local=False, onset_ms=onset_ms)
                self._reject_echo(event.item_id, one, now_ns)
                return
        self.turn.begin(now_ns)
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
            self.turn.due_ns != NEVER_NS
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
        if self.turn.due_ns != NEVER_NS:
            self.turn.extend(now_ns)
        is_known = spurt.was_sure or spurt.is_by_level
        end_ms = spurt.ended_ms if is_known else spurt.began_ms
        ended_ns = self.caller_clock.arrival_ns(bytes_of_ms(end_ms), now_ns)
        self.turn.quiet_since_ns = ended_ns
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
        input_bytes = bytes_of_ms(self.turn.ended_ms(event.audio_end_ms))
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
        self.turn.end()
        self.evidence.committed(event.item_id)
        self._forget_protected(event.item_id)
        if self.turn.is_forced:
            self.turn.is_forced = False  # the answer was asked for already
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
