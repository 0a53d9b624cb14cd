"""Watches the ear during a call and tells the timeline what happens there."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fastbridge.caller.measures import AFTER_CUT_MS, AFTER_END_MS, measure_barge_in
from fastbridge.caller.record import BargeIn
from fastbridge.caller.timeline import Moment
from fastbridge.mulaw import NS_PER_MS
from fastbridge.worlds.carrier_playout import GAP_MS
from fastbridge.worlds.carrier_record import CarrierRecord, ClearArrival, Talkspurt


class EarWatch:
    """Compares the carrier's record with what was told so far, at every tick."""

    def __init__(self, ear: CarrierRecord, tell: Callable[[Moment], None]) -> None:
        self._ear = ear
        self._tell = tell
        self._begun = 0  # talkspurts whose begin was told
        self._ended = 0
        self._arrivals = 0
        self._gaps = 0
        self._warnings = 0
        self._open: list[tuple[str, int]] = []  # (label, onset) of barge-ins still to be measured

    def onset(self, label: str, onset_ns: int, *, is_audible: bool) -> None:
        """Note a caller's onset; told as a barge-in when AI audio was reaching the ear."""
        if is_audible:
            self._open.append((label, onset_ns))
            self._tell(Moment(onset_ns, "caller", "speaks over the AI"))

    def look(self, talkspurts: Sequence[Talkspurt], now_ns: int) -> None:
        """Tell what is new."""
        self._look_at_clears()
        self._look_at_talkspurts(talkspurts, now_ns)
        self._look_at_barge_ins(now_ns)
        self._look_at_faults()

    def _look_at_clears(self) -> None:
        arrivals = self._ear.arrivals
        for arrival in arrivals[self._arrivals :]:
            if isinstance(arrival, ClearArrival):
                unheard_ms = arrival.discarded_bytes // 8
                text = f"clear received, {unheard_ms} ms of unheard audio thrown away"
                self._tell(Moment(arrival.arrived_ns, "line", text))
        self._arrivals = len(arrivals)

    def _look_at_talkspurts(self, talkspurts: Sequence[Talkspurt], now_ns: int) -> None:
        for number in range(self._ended, len(talkspurts)):
            spurt = talkspurts[number]
            if number >= self._begun:
                self._begun += 1
                what = "greeting begins" if number == 0 else "speaks"
                self._tell(Moment(spurt.start_ns, "ai", f"{what} (talkspurt {number + 1})"))
            is_last = number == len(talkspurts) - 1
            if is_last and not spurt.is_cut and now_ns - spurt.end_ns < GAP_MS * NS_PER_MS:
                break
            self._ended += 1
            lasted = (spurt.end_ns - spurt.start_ns) / 1e9
            why = "cut off" if spurt.is_cut else "heard to its end"
            what = "greeting " if number == 0 else ""
            self._tell(Moment(spurt.end_ns, "ai", f"{what}{why} after {lasted:.2f} s"))

    def _look_at_barge_ins(self, now_ns: int) -> None:
        still_open = []
        for label, onset_ns in self._open:
            barge_in = measure_barge_in(self._ear, label, onset_ns)
            patience_ms = AFTER_CUT_MS if barge_in and barge_in.is_cut else AFTER_END_MS
            if barge_in and now_ns - barge_in.silent_ns >= patience_ms * NS_PER_MS:
                self._tell(Moment(barge_in.silent_ns, "barge-in", _silence_text(barge_in)))
            else:
                still_open.append((label, onset_ns))
        self._open = still_open

    def _look_at_faults(self) -> None:
        for gap in self._ear.gaps[self._gaps :]:
            self._tell(Moment(gap.start_ns, "fault", f"gap of {gap.gap_ms:.1f} ms at the ear"))
        for warning in self._ear.warnings[self._warnings :]:
            text = f"carrier warning {warning.code}: {warning.text}"
            self._tell(Moment(warning.at_ns, "fault", text))
        self._gaps, self._warnings = len(self._ear.gaps), len(self._ear.warnings)


def _silence_text(barge_in: BargeIn) -> str:
    if not barge_in.is_cut:
        return f"AI went on to its end, {barge_in.silence_ms:.0f} ms after the caller's onset"
    return f"AI silent {barge_in.silence_ms:.0f} ms after the caller's onset"
