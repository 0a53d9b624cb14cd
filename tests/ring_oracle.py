"""The slow twin of the compiled ring: the same contract, written to be obviously right.

It keeps every AI byte ever accepted in one log and knows no atomics, no wrapping and no memory
reuse. It judges the compiled ring in tests; the package never falls back to it.
"""

from __future__ import annotations

import base64
import re

FULL = -1
STALE = -2
PAGE_BYTES = 8192
FRAME_BYTES = 160
EPOCHS = 32768

BASE64 = re.compile(rb"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")


def decoded(text: str | bytes) -> bytes | None:
    """Return what the standard library decodes, or None when `text` is not padded base64."""
    raw = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    return base64.b64decode(raw) if BASE64.fullmatch(raw) else None


class RingOracle:
    """Every byte of one ring by position, with who may still see it.

    `pages_max` models a pool that serves this ring alone; None is the fixed mode.
    """

    def __init__(
        self, *, limit_bytes: int, retain_bytes: int, window_frames: int, pages_max: int | None
    ) -> None:
        self.limit_bytes = limit_bytes
        self.retain_bytes = retain_bytes
        self.window_frames = window_frames
        self.pages_max = pages_max
        self.log = bytearray()
        self.log_start = 0  # position of log[0]: what nobody can see any more is cut off
        self.position = 0  # next byte to read
        self.floor = 0  # nothing below it is ever read again
        self.released = 0  # highest byte the consumer has let go
        self.obeyed_floor = 0  # the floor when the consumer last looked
        self.flushes = 0
        self.is_held = False
        self.pages: set[int] = set()
        self.read_bytes = self.rewound_bytes = self.flushed_bytes = self.underruns = 0
        self.stale_writes = self.stale_bytes = self.full_writes = self.refused = 0
        self.high_water_bytes = 0

    @property
    def write_position(self) -> int:
        """Bytes ever accepted."""
        return self.log_start + len(self.log)

    @property
    def read_position(self) -> int:
        """Where the next read starts."""
        return max(self.position, self.floor)

    @property
    def readable_bytes(self) -> int:
        """What lies ready."""
        return self.write_position - self.read_position

    @property
    def writable_bytes(self) -> int:
        """What fits; a flush the consumer has not obeyed makes no room yet."""
        return self.limit_bytes - (self.write_position - self.released)

    @property
    def epoch(self) -> int:
        """The word has 15 bits for it."""
        return self.flushes % EPOCHS

    @property
    def unplayed_frames(self) -> int:
        """Rounded up."""
        return -(-self.readable_bytes // FRAME_BYTES)

    @property
    def window_frames_filled(self) -> int:
        """At most the window."""
        return min(self.unplayed_frames, self.window_frames)

    @property
    def rewindable(self) -> int:
        """Bytes below the position that are kept."""
        self.sync()
        return self.position - self.keep

    @property
    def keep(self) -> int:
        """Lowest position the consumer may read again."""
        return max(self.obeyed_floor, self.released - self.retain_bytes)

    def write(self, data: bytes, epoch: int) -> int:
        """Accept all or nothing."""
        if epoch != self.epoch:
            self.stale_writes += 1
            self.stale_bytes += len(data)
            return STALE
        if len(data) > self.writable_bytes or not self._take_pages(len(data)):
            self.full_writes += 1
            return FULL
        self.log += data
        if data:
            self.high_water_bytes = max(self.high_water_bytes, self.write_position - self.released)
        return len(data)

    def _has_room(self, count: int) -> bool:
        """Say whether limit and pool have room, without booking anything."""
        kept = {page for page in self.pages if (page + 1) * PAGE_BYTES > self.keep}
        pages = self._pages_under(count)
        fits = self.pages_max is None or pages <= self.pages or len(kept | pages) <= self.pages_max
        return fits and count <= self.writable_bytes

    def _pages_under(self, count: int) -> set[int]:
        """Return the numbers of the pages under the next `count` bytes."""
        start = self.write_position
        return set(range(start // PAGE_BYTES, (start + count - 1) // PAGE_BYTES + 1))

    def write_malformed(self, count: int, epoch: int) -> int | None:
        """Refuse as write() does; what is neither stale nor too long is found out: None."""
        if epoch != self.epoch or not self._has_room(count):
            return self.write(bytes(count), epoch)
        self._take_pages(count)
        self.pages = {page for page in self.pages if page * PAGE_BYTES < self.write_position}
        return None

    def _take_pages(self, count: int) -> bool:
        """Book the pages under the next `count` bytes."""
        if self.pages_max is None or count == 0:
            return True
        wanted = self._pages_under(count)
        if wanted <= self.pages:
            return True
        self.pages = {page for page in self.pages if (page + 1) * PAGE_BYTES > self.keep}
        if len(self.pages | wanted) > self.pages_max:
            self.refused += 1
            return False
        self.pages |= wanted
        return True

    def reclaim(self) -> int:
        """Give back what holds nothing, and the last page when nothing at all is held."""
        before = len(self.pages)
        if self.keep == self.write_position:
            self.pages = set()
        self.pages = {page for page in self.pages if (page + 1) * PAGE_BYTES > self.keep}
        return before - len(self.pages)

    def flush(self, *, sync: bool = True) -> int:
        """Discard everything, end the hold and the epoch."""
        count = self.readable_bytes
        self.flushed_bytes += count
        self.floor = self.write_position
        self.flushes += 1
        self.is_held = False
        if sync:
            self.sync()
        return count

    def sync(self) -> None:
        """Let the consumer see the floor."""
        if self.floor > self.obeyed_floor:
            self.position = self.released = self.obeyed_floor = self.floor
        cut = max(0, self.keep - self.log_start)
        del self.log[:cut]
        self.log_start += cut

    def hold(self) -> bool:
        """Stop reads."""
        changed = not self.is_held
        self.is_held = True
        return changed

    def resume(self, rewind_bytes: int = 0) -> int:
        """Go on, some bytes back."""
        self.sync()
        if not self.is_held:
            return 0
        self.is_held = False
        return self.rewind(rewind_bytes)

    def rewind(self, nbytes: int) -> int:
        """Step back as far as history reaches."""
        count = min(nbytes, self.rewindable)
        self.position -= count
        self.rewound_bytes += count
        return count

    def peek(self, frames: int = 1, *, pad: bool = False) -> bytes | None:
        """Return the AI bytes of the next frames: whole ones, with `pad` also a part, or None."""
        self.sync()
        start = self.position - self.log_start
        data = bytes(self.log[start : start + frames * FRAME_BYTES])
        if not pad:
            data = data[: len(data) // FRAME_BYTES * FRAME_BYTES]
        return None if self.is_held or not data else data

    def read_frame(self, *, pad: bool = False) -> bytes | None:
        """Take the next frame."""
        return self.read_frames(1, pad=pad)

    def read_frames(self, frames: int, *, pad: bool = False) -> bytes | None:
        """Take the next frames, at most so many, as one piece of whole frames."""
        data = self.peek(frames, pad=pad)
        if data is None:
            self.underruns += not self.is_held
            return None
        self.position += len(data)
        self.released = max(self.released, self.position)
        self.read_bytes += len(data)
        return data.ljust(-(-len(data) // FRAME_BYTES) * FRAME_BYTES, b"\xff")
