"""A call that carries out verdicts: it falls silent, goes on, or ends the answer; then it says so.

`kept_talk` below it carries the caller's audio, `call` above it hears the sounds that are judged.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fastbridge._clocks import Levels
from fastbridge._ring import MulawRing
from fastbridge.barge_in import Judge
from fastbridge.call_life import NEVER_NS
from fastbridge.caller_turn import CallerTurn
from fastbridge.config import Settings
from fastbridge.events import (
    BargeInConfirmed,
    BargeInDecided,
    BargeInHeld,
    CancelResponse,
    ClearCarrier,
    DeleteItem,
    EchoMeasured,
    MarkEchoed,
)
from fastbridge.evidence import Evidence
from fastbridge.kept_talk import KeptTalk
from fastbridge.latest import Latest
from fastbridge.requester import AI_TALK, Ask
from fastbridge.talk import Act, Candidate
from fastbridge.telling import Telling

# What a false hold adds to the bar of the local detector (a probability).
FALSE_HOLD_STEP: Final = 0.05


@dataclass(slots=True)
class _Clear:
    """The latest clear, until the carrier has confirmed it; and the sound it was for."""

    fence: str
    generation: int
    sound: Candidate


class JudgedTalk(KeptTalk):
    """A call with a judge: at most one sound is before it, and every sound gets one decision."""

    def __init__(self, settings: Settings, ring: MulawRing, now_ns: int) -> None:
        super().__init__(settings, ring, now_ns)
        self.judge = Judge(settings)
        self.evidence = Evidence()
        self.turn = CallerTurn(settings)
        self.echo = EchoMeasured(has_echo=False)
        # The levels of the latest caller frames: a sound is reported after it began.
        self._levels = Levels()
        # Caller items judged to be no speech, and those whose turn ended before the verdict.
        self._noise_items: Latest[str] = Latest(16)
        self._early_items: Latest[str] = Latest(16)
        self._clear: _Clear | None = None
        self._doors |= {MarkEchoed: self._on_mark}

    # ----------------------------------------------------------------- what `Call` adds

    def _may_be_our_echo(self, _one: Candidate, _now_ns: int) -> bool:
        """Say whether the AI alone hears a sound while an echo is taken out, or looked for."""
        return False

    # ----------------------------------------------------------------- verdicts

    def _forget_talk(self, now_ns: int) -> None:
        super()._forget_talk(now_ns)
        self.judge.close(now_ns, was_noise=False)

    @property
    def _is_judging(self) -> bool:
        return self.judge.candidate is not None

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
        self.turn.reject()
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
            self.turn.owe(now_ns)
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

    # ----------------------------------------------------------------- the carrier confirms

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
