"""Measures a call at the ear: what is loud, and how long the AI went on after an onset."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from fastbridge.caller.record import BargeIn, Spoken
from fastbridge.mulaw import BYTES_PER_MS, FRAME_MS, NS_PER_BYTE, NS_PER_MS, decode
from fastbridge.worlds.carrier_record import CarrierRecord, HeardRun

LOUD_RMS: Final = 328  # -40 dBFS of 16-bit samples
LOUD_MS: Final = 10
ONSET_SILENCE_MS: Final = 300  # a sound after so much quiet is a new onset
# Audio so soon after a clear still belongs to the cut answer: what a bridge sends on comes frame
# by frame at once. A false alarm may be over 190 ms later, and that was a silence.
AFTER_CUT_MS: Final = 120
AFTER_END_MS: Final = 500  # and after running dry: an underrun, not the end


def loud_blocks(mulaw: bytes, block_ms: int) -> list[bool]:
    """Tell for each block of `block_ms` (the last may be short) whether it is above -40 dBFS."""
    import numpy as np

    size = block_ms * BYTES_PER_MS
    samples = np.zeros(-(-len(mulaw) // size) * size)
    samples[: len(mulaw)] = decode(mulaw)
    rms = np.sqrt((samples.reshape(-1, size) ** 2).mean(axis=1))
    return [bool(loud) for loud in rms > LOUD_RMS]


def loud_frames(mulaw: bytes) -> list[bool]:
    """Tell for each 20 ms frame whether any 10 ms of it are above -40 dBFS."""
    blocks = loud_blocks(mulaw, LOUD_MS)
    step = FRAME_MS // LOUD_MS
    return [any(blocks[at : at + step]) for at in range(0, len(blocks), step)]


def audible_until(runs: Sequence[HeardRun], onset_ns: int) -> tuple[int, bool] | None:
    """Return when the AI audio that was audible at `onset_ns` ended, and if a clear cut it.

    Audio that follows within 120 ms of a clear, or 500 ms of running dry, belongs to it: stale
    frames behind a clear and holes in an answer do not pass as silence. `None` when nothing was
    audible at the onset.
    """
    covering = (at for at, run in enumerate(runs) if run.start_ns <= onset_ns < run.end_ns)
    first = next(covering, None)
    if first is None:
        return None
    end_ns, is_cut = runs[first].end_ns, runs[first].is_cut
    for later in runs[first + 1 :]:
        patience_ms = AFTER_CUT_MS if is_cut else AFTER_END_MS
        if later.start_ns - end_ns >= patience_ms * NS_PER_MS:
            break
        if later.byte_count:
            end_ns, is_cut = later.end_ns, is_cut or later.is_cut
    return end_ns, is_cut


def barge_ins_of(ear: CarrierRecord, spoken: Sequence[Spoken]) -> list[BargeIn]:
    """Measure every caller onset that fell into audible AI audio."""
    return [
        barge_in
        for one in spoken
        for onset_ns in one.onsets_ns
        if (barge_in := measure_barge_in(ear, one.label, onset_ns))
    ]


def measure_barge_in(ear: CarrierRecord, label: str, onset_ns: int) -> BargeIn | None:
    """Measure one onset; `None` when the AI was not audible at it."""
    heard = audible_until(ear.runs, onset_ns)
    if heard is None:
        return None
    silent_ns, is_cut = heard
    clear_ns = next(
        (
            clear.arrived_ns
            for clear in ear.clears
            if onset_ns <= clear.arrived_ns <= silent_ns + AFTER_CUT_MS * NS_PER_MS
        ),
        None,
    )
    loud_ns = _loud_until(ear.runs, onset_ns, silent_ns)
    return BargeIn(label, onset_ns, silent_ns, loud_ns, clear_ns, is_cut)


def _loud_until(runs: Sequence[HeardRun], onset_ns: int, silent_ns: int) -> int:
    """Return the end of the last loud 10 ms between the two times; the onset if there is none."""
    block_ns = LOUD_MS * NS_PER_MS
    last_ns = onset_ns
    for run in runs:
        if run.end_ns <= onset_ns or run.start_ns >= silent_ns:
            continue
        skipped = max(0, onset_ns - run.start_ns) // NS_PER_BYTE
        start_ns = run.start_ns + skipped * NS_PER_BYTE
        blocks = loud_blocks(bytes(run.data[skipped:]), LOUD_MS)
        ends = [start_ns + (at + 1) * block_ns for at, loud in enumerate(blocks) if loud]
        last_ns = max([last_ns, *ends])
    return min(last_ns, silent_ns)
