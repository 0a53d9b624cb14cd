"""The caller's mouth: which 20 ms leave it now. No clock of its own, no sockets."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from fastbridge.caller.measures import ONSET_SILENCE_MS, loud_frames
from fastbridge.caller.plan import AfterTalkspurt, AtSecond, IntoTalkspurt, Utterance, WhenTrue
from fastbridge.caller.record import Spoken
from fastbridge.mulaw import FRAME_BYTES, NS_PER_MS, SILENCE_FRAME
from fastbridge.worlds.carrier_playout import GAP_MS
from fastbridge.worlds.carrier_record import Talkspurt


class Microphone:
    """Speaks a plan's utterances in order, silence (0xFF) between; keeps what was said when."""

    def __init__(self, utterances: Sequence[Utterance], started_ns: int) -> None:
        self.spoken: list[Spoken] = []
        self._waiting = deque(utterances)
        self._started_ns = started_ns
        self._frames: deque[tuple[bytes, bool]] = deque()  # (frame, is it loud) being spoken
        self._loud_ns: int | None = None
        self._true_since_ns: int | None = None

    @property
    def has_said_all(self) -> bool:
        """Whether no utterance is being spoken or waits for its time."""
        return not self._waiting and not self._frames

    def frame(self, now_ns: int, talkspurts: Sequence[Talkspurt]) -> bytes | None:
        """Return the 160 bytes that leave the mouth now; `None` is silence."""
        if not self._frames and self._waiting and self._is_due(now_ns, talkspurts):
            self._begin(self._waiting.popleft(), now_ns)
        if not self._frames:
            return None
        frame, is_loud = self._frames.popleft()
        one = self.spoken[-1]
        if is_loud:
            if self._loud_ns is None or now_ns - self._loud_ns >= ONSET_SILENCE_MS * NS_PER_MS:
                one.onsets_ns.append(now_ns)
            self._loud_ns = now_ns
        one.ended_ns = now_ns
        return frame

    def _begin(self, utterance: Utterance, now_ns: int) -> None:
        mulaw = utterance.mulaw
        frames = [
            mulaw[at : at + FRAME_BYTES].ljust(FRAME_BYTES, SILENCE_FRAME[:1])
            for at in range(0, len(mulaw), FRAME_BYTES)
        ]
        self._true_since_ns = None
        self._frames.extend(zip(frames, loud_frames(mulaw), strict=True))
        self.spoken.append(Spoken(utterance.label, begun_ns=now_ns, ended_ns=now_ns))

    def _is_true_for(self, start: WhenTrue, wait_ns: int, now_ns: int) -> bool:
        if not start.is_true():
            self._true_since_ns = None
        elif self._true_since_ns is None:
            self._true_since_ns = now_ns
        return self._true_since_ns is not None and now_ns - self._true_since_ns >= wait_ns

    def _is_due(self, now_ns: int, talkspurts: Sequence[Talkspurt]) -> bool:
        start = self._waiting[0].start
        wait_ns = round(start.seconds * 1e9)
        match start:
            case AtSecond():
                return now_ns >= self._started_ns + wait_ns
            case IntoTalkspurt(number=number) if len(talkspurts) >= number:
                return now_ns >= talkspurts[number - 1].start_ns + wait_ns
            case AfterTalkspurt(number=number) if len(talkspurts) >= number:
                spurt = talkspurts[number - 1]
                is_over = spurt.is_cut or len(talkspurts) > number
                is_over = is_over or now_ns - spurt.end_ns >= GAP_MS * NS_PER_MS
                return is_over and now_ns >= spurt.end_ns + wait_ns
            case WhenTrue():
                return self._is_true_for(start, wait_ns, now_ns)
        return False
