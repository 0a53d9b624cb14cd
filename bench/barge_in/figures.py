"""What the calls of the bench add up to: tables for people, and the targets met or missed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from bench.barge_in.corpus import Utterance
from bench.barge_in.virtual_call import ONE_WAY_MS, START_NS, VirtualCall

from fastbridge.events import BargeInDecided

REPORT_MS: Final = 2_200
"""A verdict belongs to a sound when it falls at most this long after its end."""
RANKS: Final = ("committed", "resumed", "withdrawn", "ignored")
CLASSES: Final = ("<250", "250-700", ">700")
# The bridge's marks are so far apart: a resume goes back to what the latest one proved.
MARK_SPACING_MS: Final = 60


def quantiles(values: Iterable[float]) -> str:
    """Return median/p95, "-" of nothing."""
    kept = list(values)
    return f"{np.percentile(kept, 50):.0f}/{np.percentile(kept, 95):.0f}" if kept else "-"


def p95(values: Iterable[float]) -> float:
    """Return the 95th percentile, 0 of nothing."""
    kept = list(values)
    return float(np.percentile(kept, 95)) if kept else 0.0


def scene_ms(at_ns: int) -> float:
    """Return a bridge time as ms of the scene."""
    return (at_ns - START_NS) / 1e6


@dataclass(slots=True)
class Verdict:
    """How one sound of the caller ended; delays in ms, -1 where nothing was to be silenced."""

    utterance: Utterance
    floor: str
    outcome: str
    bridge_ms: float = -1.0
    ear_ms: float = -1.0
    silence_ms: float = 0.0


@dataclass(slots=True)
class Row:
    """The figures of all scenes with one name."""

    name: str
    minutes: float = 0.0
    verdicts: list[Verdict] = field(default_factory=list)
    stray_holds: int = 0
    stray_commits_own: int = 0
    stray_commits_ai: int = 0
    silence_ms: float = 0.0
    unheard: int = 0

    @property
    def stray_commits(self) -> int:
        """Return commits that no caller asked for."""
        return self.stray_commits_own + self.stray_commits_ai

    def rate(self, count: float) -> float:
        """Return a count a minute."""
        return count / max(self.minutes, 1e-9)

    def late(self, place: str) -> list[float]:
        """Return the delays at "bridge" or "ear" of sounds that had something to silence."""
        delays = [v.bridge_ms if place == "bridge" else v.ear_ms for v in self.verdicts]
        return [delay for delay in delays if delay >= 0]

    @property
    def missed(self) -> tuple[int, int]:
        """Return sounds over 700 ms that did not end the answer, of all such while it played."""
        long = [v for v in self.verdicts if v.utterance.sound_ms > 700 and v.floor != "silent"]
        return sum(v.outcome != "committed" for v in long), len(long)


def judge(call: VirtualCall, row: Row) -> None:
    """Add one call to its row: what became of each sound, and what nobody asked for."""
    truth = call.truth
    row.minutes += call.scene.length_ms / 60_000
    claimed: set[int] = set()
    for number, one in enumerate(call.scene.utterances):
        floor = truth.floors.get(number, "silent")
        mine = [d for d in truth.decisions if id(d) not in claimed and _belongs(d, one)]
        claimed |= {id(decision) for decision in mine}
        outcomes = {decision.outcome for decision in mine}
        outcome = next((rank for rank in RANKS if rank in outcomes), "untouched")
        verdict = Verdict(one, floor, outcome)
        first = next(
            (c for c in truth.clears if one.start_ms < c[0] < one.end_ms + 1_000 and c[2]), None
        )
        if floor == "playing" and first is not None:
            verdict.bridge_ms = first[0] - one.start_ms - ONE_WAY_MS
            verdict.ear_ms = first[1] - one.start_ms
        row.unheard += floor == "playing" and first is None
        verdict.silence_ms = sum(
            end - begin
            for begin, end, is_same in truth.silences
            if is_same and one.start_ms < begin < one.end_ms + REPORT_MS
        )
        row.verdicts.append(verdict)
    for decision in truth.decisions:
        if id(decision) not in claimed:
            row.stray_holds += decision.outcome == "resumed"
            row.stray_commits_own += decision.outcome == "committed" and decision.source == "local"
            row.stray_commits_ai += decision.outcome == "committed" and decision.source != "local"
    if not call.scene.utterances:
        row.silence_ms += sum(end - begin for begin, end, is_same in truth.silences if is_same)


def _belongs(decision: BargeInDecided, one: Utterance) -> bool:
    decided_ms = scene_ms(decision.decided_ns)
    begun_ms = scene_ms(decision.onset_ns) - ONE_WAY_MS
    return one.start_ms < decided_ms < one.end_ms + REPORT_MS and begun_ms < one.end_ms + 300


class Report:
    """All calls of one mode."""

    def __init__(self, mode: str, calls: list[VirtualCall]) -> None:
        self.mode = mode
        self.calls = calls
        self.tables: dict[str, dict[str, Row]] = {}
        for call in calls:
            rows = self.tables.setdefault(call.scene.table, {})
            judge(call, rows.setdefault(call.scene.row, Row(call.scene.row)))
        truths = [call.truth for call in calls]
        self.lost_bytes = sum(truth.lost_bytes for truth in truths)
        self.repeated_ms = [count / 8 for truth in truths for count in truth.repeated_bytes]
        self.short_ms = [
            (truth.items[item][2] - truth.items[item][0]) / 8 - claimed_ms
            for truth in truths
            for item, claimed_ms in truth.truncates
        ]
        self.carrier_warnings = sum(call.carrier.record.warnings_total for call in calls)

    # ----------------------------------------------------------------- tables

    def show(self) -> None:
        """Print every table of this mode."""
        minutes = sum(call.scene.length_ms for call in self.calls) / 60_000
        print(f"\n=== barge_in={self.mode}: {len(self.calls)} calls, {minutes:.0f} minutes ===")
        self._show_delays()
        self._show_short()
        self._show_false("false", "Sounds that are no caller, a minute of call")
        self._show_false("echo", "Our own echo and nobody speaking, a minute of call")
        self._show_audio()

    def _show_delays(self) -> None:
        print("\nInterruptions of 0.8-3 s: ms from the true onset, median/p95")
        print(f"{'condition':40}{'n':>4}{'none':>6}{'at bridge':>11}{'at ear':>10}"
              f"{'missed >700':>13}{'stray holds':>13}{'commits':>9} /min")  # fmt: skip
        for row in self.tables.get("delay", {}).values():
            missed, of = row.missed
            strays = f"{row.rate(row.stray_holds):>13.1f}{row.rate(row.stray_commits):>9.1f}"
            print(f"{row.name:40}{len(row.late('ear')):>4}{row.unheard:>6}"
                  f"{quantiles(row.late('bridge')):>11}"
                  f"{quantiles(row.late('ear')):>10}{f'{missed} of {of}':>13}{strays}")  # fmt: skip

    def _show_short(self) -> None:
        print(
            "\nShort sounds by true duration: what became of the answer; silence of a resume in ms"
        )
        print(f"{'sound':22}{'ms':>9}{'n':>5}{'ended':>8}{'resumed':>9}{'untouched':>11}"
              f"{'silence':>11}{'at ear':>10}")  # fmt: skip
        for row in self.tables.get("short", {}).values():
            for name in CLASSES:
                some = self.played(row, name)
                if some:
                    print(f"{row.name:22}{name:>9}{short_cells(some)}")

    @staticmethod
    def played(row: Row, duration_class: str) -> list[Verdict]:
        """Return the sounds of a class that came while the AI was to be heard."""
        return [
            v
            for v in row.verdicts
            if v.utterance.duration_class == duration_class and v.floor != "silent"
        ]

    def _show_false(self, table: str, title: str) -> None:
        print(f"\n{title}")
        print(f"{'sound':34}{'minutes':>9}{'false holds':>13}{'silence ms':>12}"
              f"{'commits':>9}{'own ear / AI':>15}")  # fmt: skip
        for row in self.tables.get(table, {}).values():
            own, ai = row.rate(row.stray_commits_own), row.rate(row.stray_commits_ai)
            print(f"{row.name:34}{row.minutes:>9.2f}{row.rate(row.stray_holds):>13.1f}"
                  f"{row.rate(row.silence_ms):>12.0f}{own + ai:>9.1f}"
                  f"{f'{own:.1f} / {ai:.1f}':>15}")  # fmt: skip

    def _show_audio(self) -> None:
        beyond = max([-short for short in self.short_ms], default=0.0)
        print("\nAudio, all calls")
        print(f"  resumes at the ear: {len(self.repeated_ms)}; bytes lost: {self.lost_bytes};"
              f" repeated ms {quantiles(self.repeated_ms)},"
              f" most {max(self.repeated_ms, default=0):.0f}")  # fmt: skip
        too_far = sum(short < 0 for short in self.short_ms)
        print(f"  truncates: {len(self.short_ms)}; beyond what the ear had: {too_far}"
              f" (most {max(beyond, 0):.1f} ms);"
              f" short of it by ms {quantiles(self.short_ms)}")  # fmt: skip
        print(f"  protocol violations seen by the carrier: {self.carrier_warnings}")

    # ----------------------------------------------------------------- targets

    def show_targets(self) -> None:
        """Print each target of this corpus, met or missed."""
        print(f"\nTargets ({self.mode})")
        for name, limit, value, is_met in self._targets():
            print(f"  {'met   ' if is_met else 'MISSED'} {name}: {limit}; measured {value}")

    def _targets(self) -> Iterable[tuple[str, str, str, bool]]:
        delays = self.tables.get("delay", {})
        for row in delays.values():
            limits = (180, 300) if "echo" in row.name else (100, 200)
            for place in ("bridge", "ear"):
                late = row.late(place)
                p50 = float(np.percentile(late, 50)) if late else 0.0
                is_met = bool(late) and p50 <= limits[0] and p95(late) <= limits[1]
                limit = f"{limits[0]}/{limits[1]} ms"
                yield f"hold at {place}, {row.name}", limit, f"{quantiles(late)} ms", is_met
        missed = sum(row.missed[0] for row in delays.values())
        of = sum(row.missed[1] for row in delays.values())
        yield "missed interruptions over 700 ms", "0", f"{missed} of {of}", missed == 0
        short = self.tables.get("short", {}).values()
        words = [v for row in short if "word" in row.name for v in self.played(row, ">700")]
        missed = sum(v.outcome != "committed" for v in words)
        yield "missed words over 700 ms", "0", f"{missed} of {len(words)}", missed == 0
        for row in self.tables.get("false", {}).values():
            rate = row.rate(row.stray_holds + row.stray_commits)
            yield f"false holds, {row.name}", "at most 1 a minute", f"{rate:.1f}", rate <= 1
        for row in self.tables.get("echo", {}).values():
            if "no [echo]" in row.name or "deaf" in row.name:
                continue
            most = 1 if "300 ms" in row.name else 0
            rate = row.rate(row.stray_commits)
            yield f"commits, {row.name}", f"at most {most} a minute", f"{rate:.1f}", rate <= most
        tiny = [v for row in short for v in self.played(row, "<250")]
        ended = sum(v.outcome == "committed" for v in tiny)
        yield "commits on sounds under 250 ms", "0", f"{ended} of {len(tiny)}", ended == 0
        yield "audio lost by resume", "0 bytes", str(self.lost_bytes), self.lost_bytes == 0
        most_ms = 120 + MARK_SPACING_MS + ONE_WAY_MS
        repeated = p95(self.repeated_ms)
        yield "repeated at resume, p95", f"{most_ms} ms", f"{repeated:.0f} ms", repeated <= most_ms
        beyond = sum(short < 0 for short in self.short_ms)
        yield "truncates beyond the ear", "0", f"{beyond} of {len(self.short_ms)}", beyond == 0
        behind = p95(self.short_ms)
        most_ms = 60 + ONE_WAY_MS
        is_met = behind <= most_ms
        yield "truncate short of the ear, p95", f"{most_ms} ms", f"{behind:.0f} ms", is_met


def short_cells(some: list[Verdict]) -> str:
    """Return the cells of one row of the table of short sounds."""
    ended = sum(v.outcome == "committed" for v in some)
    resumed = sum(v.outcome == "resumed" for v in some)
    silence = quantiles(v.silence_ms for v in some if v.outcome == "resumed")
    late = quantiles(v.ear_ms for v in some if v.ear_ms >= 0)
    rest = len(some) - ended - resumed
    return f"{len(some):>5}{ended:>8}{resumed:>9}{rest:>11}{silence:>11}{late:>10}"
