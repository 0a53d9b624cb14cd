from __future__ import annotations

import base64
import os

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from fastbridge._ring import MESSAGE_FRAMES_MAX, PAGE_BYTES, MulawRing, PagePool
from ring_oracle import RingOracle
from ring_samples import FRAME, PREFIX, SUFFIX, accounts_balance, sound


class RingMachine(RuleBasedStateMachine):
    """Drive ring and oracle through the same calls; subclasses choose mode and size."""

    ring: MulawRing
    oracle: RingOracle
    pool: PagePool | None

    def set_up(self, pool: PagePool | None, window: int, rewind: int, backlog: int) -> None:
        """Make the pair."""
        self.pool = pool
        self.ring = MulawRing(
            window_frames=window, rewind_frames=rewind, pool=pool, backlog_frames_max=backlog
        )
        self.ring.set_template(PREFIX, SUFFIX)
        self.oracle = RingOracle(
            limit_bytes=(window + backlog) * FRAME,
            retain_bytes=rewind * FRAME,
            window_frames=window,
            pages_max=None if pool is None else pool.bytes_max // PAGE_BYTES,
        )
        self.epochs = [0]

    def walk(self, flushes: int, step_bytes: int) -> None:
        """Bring both to a far position and epoch, so that the fields of the word soon wrap."""
        for _ in range(flushes):
            data = bytes(step_bytes)
            assert self.ring.write(data, self.ring.epoch) == step_bytes
            assert self.oracle.write(data, self.oracle.epoch) == step_bytes
            assert self.ring.flush() == self.oracle.flush()
        self.epochs = [self.ring.begin()]

    @initialize(near=st.sampled_from(["zero", "position", "epoch"]))
    def far(self, near: str) -> None:
        """Start at zero, shortly before 2^24 bytes, or shortly before 2^15 flushes."""
        if near == "position":
            step = min(self.ring.writable_bytes, 2 * PAGE_BYTES)
            self.walk((1 << 24) // step, step)
        elif near == "epoch":
            self.walk(32766, 0)

    @rule(size=st.integers(0, 3300), seed=st.integers(0, 250), back=st.sampled_from([0, 0, 0, 1]))
    def write(self, size: int, seed: int, back: int) -> None:
        """Write a delta of odd size, sometimes with the epoch before."""
        data, epoch = sound(size, seed), self.epochs[-1 - min(back, len(self.epochs) - 1)]
        assert self.ring.write(data, epoch) == self.oracle.write(data, epoch)

    @rule(extra=st.integers(0, 1))
    def fill(self, extra: int) -> None:
        """Write what just fits, or one byte more."""
        data = sound(self.oracle.writable_bytes + extra)
        assert self.ring.write(data, self.epochs[-1]) == self.oracle.write(data, self.epochs[-1])

    @rule(size=st.integers(0, 3300), seed=st.integers(0, 250), back=st.sampled_from([0, 0, 0, 1]))
    def write_base64(self, size: int, seed: int, back: int) -> None:
        """Write a delta as it comes from the AI, as str or bytes."""
        data, epoch = sound(size, seed), self.epochs[-1 - min(back, len(self.epochs) - 1)]
        text = base64.b64encode(data)
        delta = text if seed % 2 else text.decode()
        assert self.ring.write_base64(delta, epoch) == self.oracle.write(data, epoch)

    @rule(
        size=st.integers(1, 3300), at=st.integers(0, 5000), bad=st.sampled_from(b" -_=\n\x00\xff")
    )
    def write_malformed(self, size: int, at: int, bad: int) -> None:
        """Write base64 with one foreign character: nothing of it is kept."""
        text = bytearray(base64.b64encode(sound(size)))
        text[at % (len(text) - 2)] = bad
        expected = self.oracle.write_malformed(size, self.epochs[-1])
        if expected is not None:
            assert self.ring.write_base64(bytes(text), self.epochs[-1]) == expected
            return
        with pytest.raises(ValueError, match="base64"):
            self.ring.write_base64(bytes(text), self.epochs[-1])

    @rule(frames=st.integers(1, MESSAGE_FRAMES_MAX))
    def message_size(self, frames: int) -> None:
        """Change the size of messages, also in the middle of it all."""
        self.ring.set_message_frames(frames)
        assert self.ring.message_frames == frames

    @rule(
        pad=st.booleans(),
        how=st.sampled_from(["frame", "into", "message", "message"]),
        times=st.integers(1, 9),
    )
    def read(self, pad: bool, how: str, times: int) -> None:
        """Take some frames in one of the three ways, messages of the size last set."""
        for _ in range(times):
            frames = self.ring.message_frames if how == "message" else 1
            expected = self.oracle.read_frames(frames, pad=pad)
            if how == "frame":
                assert self.ring.read_frame(pad) == expected
            elif how == "into":
                buffer = bytearray(FRAME + 3)
                assert self.ring.read_frame_into(buffer, pad=pad) is (expected is not None)
                assert buffer == (expected or bytes(FRAME)) + bytes(3)
            else:
                message = expected and PREFIX + base64.b64encode(expected) + SUFFIX
                assert self.ring.next_message(pad=pad) == message

    @rule()
    def peek(self) -> None:
        """Look without taking."""
        assert self.ring.peek_frame() == self.oracle.peek()

    @rule(sync=st.booleans(), often=st.integers(0, 3))
    def flush(self, sync: bool, often: int) -> None:
        """Flush as the consumer's thread does or as another; not too often, so that much lies."""
        if often != 0:
            return
        assert self.ring.flush(sync=sync) == self.oracle.flush(sync=sync)
        self.epochs.append(self.ring.begin())

    @rule(often=st.integers(0, 3))
    def hold(self, often: int) -> None:
        """Hold, or hold again; not too often, so that much is read."""
        if often != 0:
            return
        assert self.ring.hold() == self.oracle.hold()

    @rule(nbytes=st.integers(0, 12_000))
    def resume(self, nbytes: int) -> None:
        """Go on."""
        assert self.ring.resume(nbytes) == self.oracle.resume(nbytes)

    @rule(nbytes=st.integers(0, 12_000))
    def rewind(self, nbytes: int) -> None:
        """Step back."""
        assert self.ring.rewindable == self.oracle.rewindable
        assert self.ring.rewind(nbytes) == self.oracle.rewind(nbytes)

    @rule()
    def reclaim(self) -> None:
        """Give memory back."""
        assert self.ring.reclaim() == (self.oracle.reclaim() if self.pool else 0)

    @invariant()
    def same_observers(self) -> None:
        """Every observer agrees."""
        for name in OBSERVERS:
            assert getattr(self.ring, name) == getattr(self.oracle, name), name

    @invariant()
    def limits(self) -> None:
        """I1 and I7 hold after every step, and pages are what the oracle booked."""
        assert 0 <= self.ring.writable_bytes <= self.oracle.limit_bytes
        assert accounts_balance(self.ring)
        if self.pool is not None:
            assert self.pool.pages_in_use == len(self.oracle.pages)
            assert self.pool.refused == self.oracle.refused


OBSERVERS = (
    "readable_bytes",
    "writable_bytes",
    "window_frames",
    "window_frames_filled",
    "unplayed_frames",
    "write_position",
    "read_position",
    "epoch",
    "is_held",
    "high_water_bytes",
    "read_bytes",
    "flushed_bytes",
    "stale_writes",
    "stale_bytes",
    "full_writes",
    "rewound_bytes",
    "underruns",
)


class FixedMachine(RingMachine):
    """The ring a call has: 150 frames and 50 of history."""

    def __init__(self) -> None:
        super().__init__()
        self.set_up(None, 150, 50, 0)


class SmallFixedMachine(RingMachine):
    """A ring so small that it is often full and its buffer wraps all the time."""

    def __init__(self) -> None:
        super().__init__()
        self.set_up(None, 20, 7, 0)


class PagedMachine(RingMachine):
    """The bridge's ring, with 6 s of backlog."""

    def __init__(self) -> None:
        super().__init__()
        self.set_up(PagePool(bytes_max=64 * PAGE_BYTES), 150, 50, 300)


class SmallPoolMachine(RingMachine):
    """A ring whose pool has often nothing left."""

    def __init__(self) -> None:
        super().__init__()
        self.set_up(PagePool(bytes_max=3 * PAGE_BYTES + 100), 150, 20, 300)


MACHINE_SETTINGS = settings(
    max_examples=int(os.environ.get("RING_EXAMPLES", "100")),  # `make prove` goes deeper
    stateful_step_count=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],  # walking to the wraps takes 0.1 s
)


@pytest.mark.parametrize(
    "machine", [FixedMachine, SmallFixedMachine, PagedMachine, SmallPoolMachine]
)
def test_ring_and_oracle_agree(machine: type[RingMachine]) -> None:
    """Whatever is asked in whatever order, the ring answers as its slow twin (I1, I2, I6 to I8)."""
    run_state_machine_as_test(machine, settings=MACHINE_SETTINGS)
