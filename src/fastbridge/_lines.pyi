"""The contract of the compiled line of what the caller's ear was played."""

# ruff: noqa: PYI021  this stub is where the contract is read; the compiled file is no text

from typing import Final

LINE_BYTES: Final[int]
"""What a `PlayedLine` remembers where nothing else is asked for: 4.1 s."""

NEAR_BYTES: Final[int]
"""Bytes a `NearLine` keeps: 2 s."""

NEAR_SHORT_BYTES: Final[int]
"""Bytes a narrow one keeps: 0.5 s."""

class NearLine:
    """The last two seconds of the caller in one piece (16 kB), or half a second (4 kB)."""

    @property
    def kept_bytes(self) -> int:
        """How many bytes are kept, at most `NEAR_BYTES`."""

    def put(self, payload: str, count: int) -> None:
        """Add a frame: `payload` is valid base64 of `count` mu-law bytes.

        Raises ValueError where its length says something else; the letters are not looked at.
        One that is longer than half a second widens the line.
        """

    def widen(self) -> None:
        """Keep two seconds from now on, as at first; what is kept stays."""

    def narrow(self) -> None:
        """Keep half a second from now on; what is older goes."""

    def take(self, back_bytes: int, count: int) -> bytes:
        """Return `count` bytes from `back_bytes` before the end on.

        Raises ValueError for more than is kept.
        """

    def clear(self) -> None:
        """Forget all of it."""

class PlayedLine:
    """The AI's voice as the caller's ear gets it, on the caller's clock; the last of it.

    Filled by the playout: `put` when a frame is written, at the time it will be played; `cut` when
    a `clear` took back what had not been played. Where nothing was played it holds 0xFF.
    """

    def __init__(self, kept_bytes: int = ...) -> None:
        """Remember so many bytes (`LINE_BYTES`), what is still to be played among them.

        Raises ValueError for less than the longest message.
        """

    @property
    def talkspurts(self) -> int:
        """Return how often sound began behind a pause."""

    @property
    def end_ms(self) -> int:
        """Return when the last sound put here ends, on the caller's clock; 0: there was none."""

    def put(self, audio: bytes, at_ms: int) -> None:
        """Lay mu-law audio that begins to play at `at_ms`.

        A begin within 60 ms of the end continues it: the carrier plays without gaps while it has
        audio, and `at_ms` is known only to a frame or two.
        """

    def put_frame(self, message: bytes, head_bytes: int, tail_bytes: int, at_ms: int) -> None:
        """Lay the frames (base64, at most 480 bytes) that stand in a message, as `put` does.

        Raises:
            ValueError: there is no such base64 between head and tail; nothing was laid.
        """

    def cut(self, at_ms: int) -> None:
        """Take back everything from `at_ms` on: the carrier threw it away."""

    def ends_ms(self) -> int:
        """Return `end_ms`; asked for every frame, and compiled a call is cheaper."""

    def take(self, start_ms: int, length_ms: int) -> bytes:
        """Return what was played in `[start_ms, start_ms + length_ms)`, 0xFF where nothing was."""
