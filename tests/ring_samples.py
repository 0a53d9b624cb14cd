"""Rings of both modes and bytes to put through them, for the tests of the ring."""

from __future__ import annotations

from fastbridge import mulaw
from fastbridge._ring import PAGE_BYTES, MulawRing, PagePool

FRAME = mulaw.FRAME_BYTES
PREFIX, SUFFIX = b'{"event":"media","media":{"payload":"', b'"}}'


def fixed() -> MulawRing:
    """Make a ring of the size a call has: 150 frames and a second of history in 32 KiB."""
    return MulawRing()


def paged() -> MulawRing:
    """Make a ring with 6 s of backlog on a pool of its own."""
    return MulawRing(pool=PagePool(bytes_max=64 * PAGE_BYTES), backlog_frames_max=300)


def sound(count: int, seed: int = 1) -> bytes:
    """Make bytes that repeat with a period no frame and no page shares, and are never silence."""
    return bytes((index * 7 + seed) % 251 for index in range(count))


def read_all(ring: MulawRing) -> bytes:
    """Take everything; the last partial frame loses its padding by the position it moved."""
    parts: list[bytes] = []
    while True:
        before = ring.read_position
        frame = ring.read_frame(pad=True)
        if frame is None:
            return b"".join(parts)
        parts.append(frame[: ring.read_position - before])


def accounts_balance(ring: MulawRing) -> bool:
    """Say whether every byte is read, flushed or still there."""
    kept = ring.read_bytes - ring.rewound_bytes
    return ring.written_bytes == kept + ring.flushed_bytes + ring.readable_bytes
