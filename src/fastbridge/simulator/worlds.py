"""What can go wrong in a simulated call, as numbers drawn from the seed: these are the defaults."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from random import Random
from typing import Any, Final

Windows = tuple[tuple[int, int], ...]
"""Intervals `(from_ms, to_ms)` since the beginning."""

NEVER_MS: Final = 1 << 40
# The longest message and 40 ms: what the settings ask of a lead.
LEAD_MS_MIN: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Worlds:
    """The world of one call; times in milliseconds, chances from 0 to 1.

    Carrier and AI ways are one-way delays; jitter adds to each message and never reorders a
    socket. A freeze holds everything of one direction back and lets it out at once.
    """

    carrier_way_ms: int = 40
    carrier_jitter_ms: int = 10
    carrier_freezes: Windows = ()
    carrier_pauses: Windows = ()
    """The carrier's socket takes nothing: the bridge's transport fills up."""
    sound_stalls: float = 0.0
    """Of the caller's sounds, those just before whose barge-in the way to the carrier, or its
    socket, begins to stand still."""
    carrier_lost_ms: int = NEVER_MS
    carrier_stops_ms: int = NEVER_MS
    caller_frame_loss: float = 0.0
    ai_way_ms: int = 60
    ai_jitter_ms: int = 20
    ai_freezes: Windows = ()
    ai_lost_ms: int = NEVER_MS
    ai_session_ms: int = 3_600_000
    is_ai_refused: bool = False
    think_ms: int = 120
    times_real_time: int = 8
    delta_bytes_min: int = 1_000
    delta_bytes_max: int = 4_000
    late_deltas: int = 2
    truncates_in_progress: bool = True
    answer_ms_max: int = 12_000
    failed_answers: float = 0.0
    empty_answers: float = 0.0
    """Completed without a word."""
    lost_requests: float = 0.0
    tool_answers: float = 0.0
    duplicates: float = 0.0
    reorders: float = 0.0
    zombies: float = 0.0
    """Deltas of a response that has ended, sent again up to 300 ms later."""
    garbage: float = 0.0
    server_errors: float = 0.0
    stalls: Windows = ()
    """The bridge's event loop does nothing; what arrives waits."""
    echo_delay_ms: int = 0
    """0: no echo path."""
    echo_loss_db: int = 0
    chattiness: float = 1.0
    has_dips: bool = False
    """The caller's talk has short dips between syllables, as real speech has."""
    greeting: bool = True
    lead_ms: int = 200
    message_ms: int = 20
    window_frames: int = 150
    backlog_seconds_max: int = 240
    ai_write_limit_bytes: int = 65_536
    call_seconds_max: int = 3_300
    detector: str = "server"
    score_late_ms: int = 0
    """So much later than usual every score of our own detector comes."""
    detector_starved: Windows = ()
    """The detector's thread does not run: what waits longer than 0.5 s is dropped."""
    barge_in: str = ""
    """Empty: the settings' own default."""
    tool_calls_max: int = 1
    """Function calls of one answer."""
    tool_ms_max: int = 3_000
    end_calls: float = 0.0
    """Of the function calls, those that end the call."""
    end_call_barge_in: str = "on"


IN_TIME: Final[dict[str, Any]] = {"score_late_ms": 0, "detector_starved": (), "has_dips": False}
"""A change that makes our own ears quick, as in the worlds of seeds that were found before."""


def _windows(dice: Random, seconds: int, count: int, shortest: int, longest: int) -> Windows:
    starts = sorted(dice.randrange(seconds * 1000) for _ in range(count))
    spans, free_ms = [], 0
    for start in starts:
        begin = max(start, free_ms)
        end = begin + dice.randint(shortest, longest)
        spans.append((begin, end))
        free_ms = end + 1
    return tuple(spans)


# A stall begins so long before or after a sound; a barge-in follows the sound by 50 to 150 ms.
STALL_BEGINS_MS: Final = (-350, 150)
STALL_MS: Final = (50, 600)
STALLS_APART_MS: Final = 2_500


def stalls_at(sounds_ms: list[int], dice: Random, chance: float) -> tuple[Windows, Windows]:
    """Return freezes of the way to the carrier, and pauses of its socket, around some sounds."""
    freezes: list[tuple[int, int]] = []
    pauses: list[tuple[int, int]] = []
    free_ms = 0
    for sound_ms in sounds_ms:
        begin = max(sound_ms + dice.randint(*STALL_BEGINS_MS), 0)
        end = begin + dice.randint(*STALL_MS)
        kind = freezes if dice.random() < 0.5 else pauses  # noqa: PLR2004  an even coin
        if dice.random() < chance and begin >= free_ms:
            kind.append((begin, end))
            free_ms = end + STALLS_APART_MS
    return tuple(freezes), tuple(pauses)


def draw(seed: int, seconds: int) -> Worlds:
    """Return the world of a seed: round trips of 40-250 ms and 50-400 ms, and all the trouble."""
    dice = Random(f"{seed} worlds")  # noqa: S311  seeded on purpose

    def rarely(chance: float) -> bool:
        return dice.random() < chance

    def sometime() -> int:
        return dice.randrange(2_000, max(seconds * 1000, 2_001))

    world = Worlds(
        carrier_way_ms=dice.randint(20, 125),
        carrier_jitter_ms=dice.choice((0, 5, 15, 30)),
        carrier_freezes=_windows(dice, seconds, 1, 50, 300) if rarely(0.25) else (),
        carrier_pauses=_windows(dice, seconds, dice.randint(1, 2), 100, 1_500)
        if rarely(0.2)
        else (_windows(dice, seconds, 1, 5_500, 6_500) if rarely(0.03) else ()),
        carrier_lost_ms=sometime() if rarely(0.06) else NEVER_MS,
        carrier_stops_ms=sometime() if rarely(0.12) else NEVER_MS,
        caller_frame_loss=dice.choice((0.0, 0.0, 0.002, 0.02)),
        ai_way_ms=dice.randint(25, 200),
        ai_jitter_ms=dice.choice((0, 10, 40, 100)),
        ai_freezes=_windows(dice, seconds, 2, 100, 1_500) if rarely(0.25) else (),
        ai_lost_ms=sometime() if rarely(0.06) else NEVER_MS,
        ai_session_ms=sometime() if rarely(0.04) else 3_600_000,
        is_ai_refused=rarely(0.01),
        think_ms=dice.choice((0, 120, 400, 900)),
        times_real_time=dice.choice((1, 2, 4, 8, 16, 40)),
        delta_bytes_min=dice.choice((1, 37, 160, 1_000, 1_000, 1_000)),
        delta_bytes_max=dice.choice((1_200, 4_000, 9_601)),
        late_deltas=dice.choice((0, 1, 2, 8)),
        truncates_in_progress=rarely(0.7),
        answer_ms_max=dice.choice((1_500, 6_000, 12_000, 25_000)),
        failed_answers=dice.choice((0.0, 0.0, 0.05, 0.15)),
        lost_requests=0.08 if rarely(0.1) else 0.0,
        tool_answers=dice.choice((0.0, 0.0, 0.3)),
        duplicates=dice.choice((0.0, 0.0, 0.03)),
        reorders=dice.choice((0.0, 0.05, 0.2)),
        zombies=dice.choice((0.0, 0.3)),
        garbage=dice.choice((0.0, 0.002)),
        server_errors=dice.choice((0.0, 0.0, 0.003)),
        stalls=_windows(dice, seconds, dice.randint(0, 6), 20, dice.choice((60, 200, 500))),
        echo_delay_ms=dice.randint(20, 300) if rarely(0.3) else 0,
        echo_loss_db=dice.randint(6, 30),
        chattiness=dice.choice((0.4, 1.0, 1.0, 2.0)),
        greeting=rarely(0.8),
        lead_ms=dice.choice((200, 200, 200, 60, 400)),
        backlog_seconds_max=dice.choice((240, 240, 240, 240, 2)),
        ai_write_limit_bytes=dice.choice((65_536, 4_096)),
        call_seconds_max=dice.randint(5, max(seconds, 6)) if rarely(0.06) else 3_300,
        detector=dice.choice(("silero", "silero", "silero", "energy", "server")),
        barge_in=dice.choice(("", "", "", "", "", "instant", "server")),
        sound_stalls=Random(f"{seed} sound stall worlds").choice((0.0, 0.0, 0.0, 0.5)),  # noqa: S311
        **_tools(seed),
        **_ears(seed, seconds),
    )
    return dataclasses.replace(world, message_ms=_message_ms(seed, world.lead_ms))


def _message_ms(seed: int, lead_ms: int) -> int:
    """Draw the size of messages to the carrier, from dice of its own: one the lead has room for."""
    dice = Random(f"{seed} message worlds")  # noqa: S311  seeded on purpose
    return dice.choice((20, 20, 40, 60)) if lead_ms >= LEAD_MS_MIN else 20


def _ears(seed: int, seconds: int) -> dict[str, Any]:
    """Draw how late our own ears are: mostly in time, sometimes overloaded for a while, or all."""
    dice = Random(f"{seed} ear worlds")  # noqa: S311  seeded on purpose
    count, longest = dice.randint(2, 12), dice.choice((600, 1_500, 3_000))
    is_starved = dice.random() < 0.25  # noqa: PLR2004  a quarter of all calls
    late_ms = dice.choice((0, 0, 0, 0, 0, 0, 150, 350, 900, 2_500))
    return {
        "score_late_ms": late_ms,
        "detector_starved": _windows(dice, seconds, count, 200, longest) if is_starved else (),
        "has_dips": is_starved or late_ms > 0,
    }


def _tools(seed: int) -> dict[str, Any]:
    """Draw what functions do; from dice of their own, so that all else stays as it was."""
    dice = Random(f"{seed} tool worlds")  # noqa: S311  seeded on purpose
    return {
        "tool_calls_max": dice.choice((1, 1, 3)),
        "tool_ms_max": dice.choice((50, 800, 3_000, 8_000)),
        "end_calls": dice.choice((0.0, 0.1, 0.3)),
        "end_call_barge_in": dice.choice(("on", "on", "off")),
        "empty_answers": dice.choice((0.0, 0.0, 0.0, 0.05)),
    }
