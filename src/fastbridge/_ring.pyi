"""Contract of the compiled ring; tests/test_ring_contract.py compares it with the built module.

Roles: the *producer* calls begin, write, write_base64 and reclaim; the *consumer* calls the reads,
rewind and resume; anyone may call flush and hold. On the bridge's event loop all are one thread.
Positions and counts are AI bytes (mu-law, 8 a millisecond); padding is never counted. Observers
are exact on the loop's thread and snapshots on any other. `flush()` from another thread than the
consumer's must be `flush(sync=False)`: the consumer's positions are its own.

Without a GIL the roles must be kept (declared compatible; docs/proofs.md says what is tested).
After fork() parent and child have private copies. A second interpreter of a process gets an
ImportError.
"""

# ruff: noqa: PYI021  this stub is where the contract is read; the compiled file is no text

from typing import Final, final

FULL: Final = -1
"""A write was refused: limit or pool reached. Nothing was written; `full_writes` counts it."""
STALE: Final = -2
"""A write was refused: its epoch ended with a flush. `stale_writes` and `stale_bytes` count it."""
PAGE_BYTES: Final = 8192
"""Bytes of one page of a `PagePool`."""
TEMPLATE_BYTES_MAX: Final = 512
"""Most bytes that prefix and suffix of a message may have, each."""
MESSAGE_FRAMES_MAX: Final = 3
"""Most frames one message may carry: 60 ms."""

def inspect_base64(payload: str | bytes) -> int:
    """Return what `payload` decodes to in bytes, or -1 when it is not valid base64.

    Valid is RFC 4648 section 4: standard alphabet, padded, no white space; as in Python's base64
    module the unused bits of the last group may be anything. Nothing is decoded.

    Raises:
        TypeError: `payload` is neither str nor bytes.
    """

def measure_base64(payload: str | bytes) -> int:
    """Return `bytes << 16 | level` of mu-law audio in base64, or -1 when it is not valid base64.

    One pass, nothing is decoded to memory (about 0.2 us for a frame of 160 bytes). `bytes` is what
    `inspect_base64` returns; `level` the mean absolute amplitude in G.711's 14 bits (0..8031, a
    quarter of the 16-bit samples), rounded down, 0 when there are no bytes.

    Raises:
        TypeError: `payload` is neither str nor bytes.
    """

@final
class PagePool:
    """Pages of 8 KiB for the paged rings of one event loop, never more than `bytes_max`.

    Pages come from the system 32 at a time and go back to it when the pool goes. A write that
    needs more than is left gets FULL and is counted in `refused`.

    Raises:
        TypeError: `bytes_max` is no int.
        ValueError: `bytes_max` is below one page (8192).
    """

    def __init__(self, *, bytes_max: int) -> None: ...
    @property
    def bytes_max(self) -> int:
        """The limit given to the constructor; rounded down to whole pages in use."""
    @property
    def pages_in_use(self) -> int:
        """Pages that rings hold now."""
    @property
    def pages_free(self) -> int:
        """Pages got from the system that no ring holds now."""
    @property
    def refused(self) -> int:
        """Writes that got FULL because the pool had not enough pages."""

@final
class MulawRing:
    """A mu-law ring whose flush is O(1), from any thread, and kills the write in flight.

    Without `pool` (fixed mode) it is one buffer, a power of two that holds window and rewind
    history. With `pool` (paged mode) memory follows what lies in it, and
    `window_frames + backlog_frames_max` frames may lie unplayed.

    Raises:
        TypeError: an argument is of the wrong type.
        ValueError: an argument is out of range, together more than 52,428 frames (the 24-bit
            positions of the word), or a backlog without a pool.
    """

    def __init__(
        self,
        *,
        window_frames: int = 150,
        rewind_frames: int = 50,
        pool: PagePool | None = None,
        backlog_frames_max: int = 0,
    ) -> None: ...
    def close(self) -> None:
        """Give all memory back; both sides must be at rest.

        The ring stays and is empty: reads find nothing, writes get STALE (FULL with the new
        epoch). Closing twice does nothing; a ring that is dropped closes itself.
        """
    def begin(self) -> int:
        """Return the current epoch (0 to 32,767), to be given with every byte of a response.

        Moves nothing: several responses may share an epoch; only a flush ends it.
        """
    def write(self, data: bytes | bytearray | memoryview, epoch: int) -> int:
        """Append all of `data` or nothing: bytes accepted, `STALE` or `FULL`.

        After a flush from another thread its space returns when the consumer next reads.

        Raises:
            TypeError: `data` is no contiguous buffer.
            ValueError: `epoch` is none that begin() returns.
        """
    def write_base64(self, delta: str | bytes, epoch: int) -> int:
        """Decode `delta` straight into the ring, all or nothing: bytes accepted, STALE or FULL.

        A delta that is refused is not decoded, so STALE and FULL come before malformed
        characters (a length that is no multiple of 4 comes first).

        Raises:
            TypeError: `delta` is neither str nor bytes.
            ValueError: `delta` is not standard base64, with the offset; or `epoch` is wrong.
        """
    def reclaim(self) -> int:
        """Give pages that hold nothing readable or rewindable back; return how many.

        Writes do so by themselves when they need pages; this is for calls that fell idle. When
        everything is played, at most the rewind history and one page more stay.
        """
    def flush(self, sync: bool = True) -> int:
        """Make everything unreadable, raise the epoch and end a hold; return bytes discarded.

        One compare-and-swap, whatever lies in the ring. `sync=True` is for the consumer's own
        thread and makes room at once; any other thread must pass False.
        """
    def hold(self) -> bool:
        """Stop reads until resume() or flush(); return False when they were stopped already."""
    def resume(self, rewind_bytes: int = 0) -> int:
        """End a hold, stepping back by up to `rewind_bytes`; return how many bytes.

        Does nothing and returns 0 when the ring is not held, or no longer (a flush ends a hold).

        Raises:
            ValueError: `rewind_bytes` is negative or above 8,388,608.
        """
    def rewind(self, nbytes: int) -> int:
        """Step back by up to `nbytes` and return how many: never across a flush.

        Raises:
            ValueError: `nbytes` is negative or above 8,388,608.
        """
    @property
    def rewindable(self) -> int:
        """Bytes that rewind() can step back over now. For the consumer."""
    def read_frame(self, pad: bool = False) -> bytes | None:
        """Take the next 160 bytes, or return None (held, or counted in `underruns`).

        With `pad` a partial frame is taken and filled up with 0xFF; only its AI bytes count.
        """
    def read_frame_into(self, buffer: bytearray | memoryview, pad: bool = False) -> bool:
        """Take as read_frame() into the first 160 bytes of `buffer`; False when there is none.

        Raises:
            ValueError: `buffer` is shorter than a frame.
            TypeError, BufferError: `buffer` cannot be written.
        """
    def peek_frame(self) -> bytes | None:
        """Return the next whole frame and leave it; None when there is none or the ring is held."""
    def set_template(self, prefix: bytes, suffix: bytes) -> None:
        """Set what next_message() puts around the base64 of its frames, at most 512 bytes each.

        Raises:
            TypeError: one of them is not bytes.
            ValueError: one of them is too long.
        """
    def set_message_frames(self, frames: int) -> None:
        """Set how many frames next_message() takes at most; 1 until then.

        Raises:
            TypeError: `frames` is no int.
            ValueError: `frames` is not 1 to `MESSAGE_FRAMES_MAX`.
        """
    @property
    def message_frames(self) -> int:
        """Most frames that next_message() takes."""
    def next_message(self, pad: bool = False) -> bytes | None:
        """Take the next frames as `prefix + base64 + suffix`, in one piece of base64.

        As many whole frames as lie there, at most `message_frames`: it never waits for company.
        A partial frame is taken with `pad` only, as the last of its message, filled up with 0xFF.
        None as read_frame().

        Raises:
            RuntimeError: set_template() was not called.
        """
    @property
    def window_frames(self) -> int:
        """The window given to the constructor."""
    def holds(self) -> bool:
        """Return `is_held`; from compiled code a call is cheaper than a property."""
    def ready_bytes(self) -> int:
        """Return `readable_bytes`; as `holds`."""
    def write_end(self) -> int:
        """Return `write_position`; as `holds`."""
    def read_end(self) -> int:
        """Return `read_position`; as `holds`."""
    @property
    def readable_bytes(self) -> int:
        """AI bytes that lie ready to be read, held or not."""
    @property
    def writable_bytes(self) -> int:
        """Bytes a write may have now; a pool may still have less."""
    @property
    def unplayed_frames(self) -> int:
        """Readable frames, rounded up, backlog included."""
    @property
    def window_frames_filled(self) -> int:
        """Readable frames, rounded up, at most `window_frames`."""
    @property
    def write_position(self) -> int:
        """AI bytes ever written; never falls."""
    @property
    def read_position(self) -> int:
        """Position of the next AI byte to be read; a flush moves it on, a rewind back."""
    @property
    def epoch(self) -> int:
        """Flushes so far, modulo 32,768."""
    @property
    def is_held(self) -> bool:
        """Whether reads are stopped by hold()."""
    @property
    def high_water_bytes(self) -> int:
        """Most bytes that ever lay between the write position and the highest byte read."""
    @property
    def written_bytes(self) -> int:
        """Bytes accepted: read_bytes - rewound_bytes + flushed_bytes + readable_bytes."""
    @property
    def read_bytes(self) -> int:
        """Bytes taken, those read again after a rewind counted again."""
    @property
    def flushed_bytes(self) -> int:
        """Bytes discarded by flushes."""
    @property
    def stale_writes(self) -> int:
        """Writes refused because their epoch had ended."""
    @property
    def stale_bytes(self) -> int:
        """Bytes of those writes (of base64: as its length says)."""
    @property
    def full_writes(self) -> int:
        """Writes refused because limit or pool was reached."""
    @property
    def rewound_bytes(self) -> int:
        """Bytes stepped back over by rewind() and resume()."""
    @property
    def underruns(self) -> int:
        """Reads that found no frame while the ring was not held."""
