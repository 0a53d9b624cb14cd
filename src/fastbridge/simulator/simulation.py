"""One simulated call: the parties are brought together, time jumps, and every step is judged."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from random import Random
from typing import Final, NoReturn

from fastbridge.config import DEFAULTS, Settings
from fastbridge.counters import COUNTED
from fastbridge.events import BargeInDecided
from fastbridge.mulaw import NS_PER_MS, bytes_of_ms
from fastbridge.simulator.agenda import START_NS, Agenda
from fastbridge.simulator.ai_party import AiParty
from fastbridge.simulator.bridge_party import BridgeParty
from fastbridge.simulator.caller import Caller
from fastbridge.simulator.carrier_party import CarrierParty
from fastbridge.simulator.invariants import AT_THE_END, OF_FACTS, OF_STATE, InvariantBroken
from fastbridge.simulator.network import Path
from fastbridge.simulator.tools import SimulatedTools
from fastbridge.simulator.truth import Truth
from fastbridge.simulator.worlds import Worlds, draw, stalls_at

# What a resume may repeat beside the way from mark to mark: the back-up, and a freeze.
BACK_UP_MS: Final = 120
MARK_SPACING_MS: Final = 60
REPEAT_FROZEN_MS: Final = 500
# What is still on its way when the time is over may arrive.
LAST_MS: Final = 1_000


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one simulated call. `timeline` holds lines `(ms, text)`."""

    seed: int
    seconds: int
    steps: int
    counts: dict[str, int]
    decisions: tuple[BargeInDecided, ...]
    timeline: tuple[tuple[int, str], ...]
    digest: str
    short_ms: tuple[float, ...]
    """Of each item that was cut: by how much the AI was told less than the ear had."""
    one_way_ms: int


def simulate(seed: int, *, seconds: int = 60, worlds: Worlds | None = None) -> Outcome:
    """Simulate one call of a seed; the same arguments give the same bytes and commands.

    Args:
        seed: decides everything.
        seconds: how long the caller stays at most, 1 to 3,600.
        worlds: what goes wrong; None: drawn from the seed.

    Raises:
        InvariantBroken: a rule of `invariants` does not hold; it names seed, step and rule.
        ValueError: `seconds` is out of range.
    """
    if not 1 <= seconds <= 3_600:  # noqa: PLR2004  the range is in the message
        raise ValueError(f"seconds is {seconds}: use 1 to 3600")
    return Simulation(seed, seconds, worlds or draw(seed, seconds)).run()


def settings_of(worlds: Worlds) -> Settings:
    """Return the bridge's settings in a world."""
    return Settings(
        detector=worlds.detector,
        barge_in=worlds.barge_in or DEFAULTS["barge_in"],
        greeting="Hello." if worlds.greeting else "",
        lead_ms=worlds.lead_ms,
        message_ms=worlds.message_ms,
        window_frames=worlds.window_frames,
        backlog_seconds_max=worlds.backlog_seconds_max,
        ai_write_limit_bytes=worlds.ai_write_limit_bytes,
        call_seconds_max=worlds.call_seconds_max,
        end_call="on",
        end_call_barge_in=worlds.end_call_barge_in,
    )


class Simulation:
    """The parties of one call around one agenda."""

    def __init__(self, seed: int, seconds: int, worlds: Worlds) -> None:
        self.seed = seed
        self.seconds = seconds
        self.settings = settings_of(worlds)
        self.steps = 0
        self.truth = Truth(self.settings.commit_ms)
        self.happened: Counter[str] = Counter()
        self.agenda = Agenda()

        def dice(name: str) -> Random:
            return Random(f"{seed} {name}")  # noqa: S311  seeded on purpose

        echo_db = worlds.echo_loss_db if worlds.echo_delay_ms else None
        self.caller = Caller(
            dice("caller"),
            seconds,
            worlds.chattiness,
            echo_loss_db=echo_db,
            has_dips=worlds.has_dips,
        )
        starts = [one.start_ms for one in self.caller.intervals]
        freezes, pauses, back = stalls_at(starts, dice("sound stalls"), worlds.sound_stalls)
        self.happened["sound_stalls"] = len(freezes) + len(pauses)
        self.worlds = worlds = replace(
            worlds,
            carrier_freezes=worlds.carrier_freezes + freezes,
            carrier_pauses=worlds.carrier_pauses + pauses,
            carrier_back_freezes=worlds.carrier_back_freezes + back,
        )
        self.carrier = CarrierParty(
            self.agenda,
            worlds,
            self.truth,
            caller=self.caller,
            dice=dice("carrier"),
            happened=self.happened,
        )
        self.ai = AiParty(self.agenda, worlds, dice("ai"), self.happened, dice("ai tools"))
        self.bridge = BridgeParty(
            self.agenda,
            self.settings,
            worlds,
            self.truth,
            dice=dice("bridge"),
            tools=SimulatedTools(worlds, dice("tools"), self.happened),
            happened=self.happened,
        )
        self.call = self.bridge.call
        self._lay_ways()

    def _lay_ways(self) -> None:
        """Connect the parties: four ways, each in order, late, sometimes frozen."""
        worlds, seed, agenda = self.worlds, self.seed, self.agenda

        def random(name: str) -> Random:
            return Random(f"{seed} way {name}")  # noqa: S311  seeded on purpose

        carrier_way, carrier_jitter = worlds.carrier_way_ms, worlds.carrier_jitter_ms
        to_carrier = Path(
            agenda,
            random("to carrier"),
            way_ms=carrier_way,
            jitter_ms=carrier_jitter,
            freezes=worlds.carrier_freezes,
            deliver=self.carrier.receive,
        )
        from_carrier = Path(
            agenda,
            random("from carrier"),
            way_ms=carrier_way,
            jitter_ms=carrier_jitter,
            freezes=worlds.carrier_back_freezes,
            deliver=self.bridge.from_carrier,
        )
        to_ai = Path(
            agenda,
            random("to ai"),
            way_ms=worlds.ai_way_ms,
            jitter_ms=worlds.ai_jitter_ms,
            freezes=worlds.ai_freezes,
            deliver=self.ai.receive,
        )
        from_ai = Path(
            agenda,
            random("from ai"),
            way_ms=worlds.ai_way_ms,
            jitter_ms=worlds.ai_jitter_ms,
            freezes=worlds.ai_freezes,
            deliver=self.bridge.from_ai,
        )
        self.bridge.start(self.carrier, self.ai, (to_carrier, to_ai, from_ai))
        self.carrier.start(from_carrier)

    # ----------------------------------------------------------------- what the rules look at

    @property
    def now_ns(self) -> int:
        """Return the time."""
        return self.agenda.now_ns

    @property
    def is_carrier_free(self) -> bool:
        """Say whether the way to the carrier was neither frozen nor paused of late."""
        return self.bridge.to_carrier.is_way_free

    @property
    def repeat_bytes_max(self) -> int:
        """Return what a resume may repeat: the back-up, a mark's spacing, and both ways."""
        worlds = self.worlds
        ways_ms = 2 * (worlds.carrier_way_ms + worlds.carrier_jitter_ms)
        slack_ms = 0 if self.is_carrier_free else worlds.lead_ms + REPEAT_FROZEN_MS
        # A mark stands behind a whole message.
        messages = -(-MARK_SPACING_MS // worlds.message_ms)
        spacing_ms = messages * worlds.message_ms
        return bytes_of_ms(BACK_UP_MS + spacing_ms + ways_ms + slack_ms)

    @property
    def left_behind(self) -> tuple[int, int, bool]:
        """Return bytes in the ring, pages not given back, and whether the AI was left open."""
        return self.bridge.left_behind

    @property
    def heard(self) -> bytes:
        """Return what the ear really heard."""
        return self.carrier.heard

    def counted(self) -> int:
        """Return the sum of all counters that explain something."""
        return self.bridge.witness.counted()

    def broken(self, name: str, **facts: object) -> NoReturn:
        """Raise `InvariantBroken`."""
        where = (self.seed, self.steps, self.agenda.now_ms)
        lines = tuple(self.bridge.witness.timeline)
        raise InvariantBroken(*where, name=name, facts=facts, timeline=lines)

    # ----------------------------------------------------------------- time

    def run(self) -> Outcome:
        """Let the call happen and judge every step that touched the call or the ear."""
        end_ns = START_NS + (self.seconds * 1000 + LAST_MS) * NS_PER_MS
        step, loop, facts = self.agenda.step, self.bridge.loop, self.truth.step
        while step(end_ns):
            self.steps += 1
            if loop.is_touched or facts.heard or facts.claims:
                loop.is_touched = False
                self.judge()
        self._finish()
        return self._outcome()

    def judge(self) -> None:
        """Check every rule, then forget the step's facts."""
        self.carrier.advance()
        step = self.truth.step
        has_facts = step.has_facts
        if has_facts:
            for rule in OF_FACTS:
                rule(self)
        for rule in OF_STATE:
            rule(self)
        if has_facts:
            step.clear()
        step.is_beat = False

    def _finish(self) -> None:
        """End the call and look for what is left behind (rule 8 and the bytes of rule 4)."""
        self.carrier.close()
        self.bridge.finish()
        self.judge()
        for rule in AT_THE_END:
            rule(self)

    def _outcome(self) -> Outcome:
        counts = dict(self.happened)
        for name in COUNTED:
            counts[f"call.{name}"] = getattr(self.call.counts, name)
        for sound in self.caller.intervals:
            name = f"caller {sound.sound.name}"
            counts[name] = counts.get(name, 0) + 1
        counts["repeated_bytes"] = self.truth.ear.repeated_bytes
        counts["heard_bytes"] = sum(end - start for start, end in self.truth.ear.ranges)
        return Outcome(
            seed=self.seed,
            seconds=self.seconds,
            steps=self.steps,
            counts=counts,
            decisions=tuple(self.bridge.witness.decisions),
            timeline=tuple(self.bridge.witness.timeline),
            digest=self.bridge.digest.hexdigest(),
            short_ms=tuple(self.truth.short_ms.values()),
            one_way_ms=self.worlds.carrier_way_ms,
        )
