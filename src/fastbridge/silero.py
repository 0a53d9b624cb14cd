"""How likely is it that this is speech? The Silero network at 8 kHz, many calls in one run.

Silero VAD 6.2 (MIT; `data/silero_vad_8k.f32` has its weights, packed by
`bench/network_weights.py`): windows of 256 samples (32 ms), each run on the window with the last 32
samples before it and a recurrent state. Compiled (`_network.h`): a window costs 9 us of CPU in
batches of four and more, 20 alone (2-core machine, its caches warm). A test compares it with
onnxruntime on the makers' file.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, ClassVar, Final, Protocol

from fastbridge import mulaw
from fastbridge._network import WEIGHTS_BYTES, Network

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

    import numpy as np
    from numpy.typing import NDArray

WINDOW_BYTES: Final = 256
WINDOW_MS: Final = mulaw.ms_of_bytes(WINDOW_BYTES)
CONTEXT_BYTES: Final = 32
_STATE_WIDTH: Final = 128
MISSING: Final = "the detector's weights are missing or cut short: install fastbridge again"


class DetectorMissingError(RuntimeError):
    """The weights of the voice activity detector are not in the package."""


@dataclass(slots=True)
class Listeners:
    """What the network remembers of `n` calls: `state` [2, n, 128], `context` [n, 32], float32."""

    state: NDArray[np.float32]
    context: NDArray[np.float32]

    def pick(self, rows: list[int]) -> Listeners:
        """Return a copy with only these calls, in this order."""
        return Listeners(self.state.take(rows, axis=1), self.context.take(rows, axis=0))

    def put(self, rows: list[int], changed: Listeners) -> None:
        """Write back what `pick` took out, after a run."""
        self.state[:, rows, :] = changed.state
        self.context[rows] = changed.context

    def reset(self, row: int) -> None:
        """Forget one call."""
        self.state[:, row, :] = 0.0
        self.context[row] = 0.0

    def grown(self, count: int) -> Listeners:
        """Return a copy with `count` calls, the new ones as if they had heard nothing yet."""
        more = listeners(count)
        more.put(list(range(len(self.context))), self)
        return more


class Silero:
    """The network, loaded once a process; `score` may be called from any thread, one at a time."""

    __slots__ = ("_network",)
    quick_windows: ClassVar = 12
    """So many cost 0.1 to 0.3 ms: the event loop may wait for them."""

    def __init__(self) -> None:
        """Load the weights (0.9 MB); raises `DetectorMissingError`."""
        import numpy as np

        packed = _weights().read_bytes() if is_installed() else b""
        if len(packed) != WEIGHTS_BYTES:
            raise DetectorMissingError(MISSING)
        weights = np.frombuffer(packed, "<f4").astype(np.float32).tobytes()
        table = mulaw.decode_floats(bytes(range(256))).tobytes()
        self._network = Network(weights, table)

    def score(self, windows: list[bytes], listeners: Listeners) -> list[float]:
        """Return the speech probability (0..1) of each call's next mu-law window of 256 bytes.

        `listeners` has as many rows as there are windows and is updated. One run of the network,
        which does not hold the interpreter's lock.
        """
        return self._network.score(windows, listeners.state, listeners.context)


class Scorer(Protocol):
    """What is asked of a network: `Silero`, or a stand-in in a test."""

    def score(self, windows: list[bytes], listeners: Listeners) -> list[float]:
        """Return the speech probability of each call's next window of 256 mu-law bytes."""


def score_each(network: Scorer, windows: list[bytes], memories: list[Listeners]) -> list[float]:
    """Run the network once on the next window of calls that keep a memory of one row each."""
    import numpy as np

    joined = Listeners(
        np.concatenate([one.state for one in memories], axis=1),
        np.concatenate([one.context for one in memories]),
    )
    scores = network.score(windows, joined)
    for row, one in enumerate(memories):
        moved = joined.pick([row])
        one.state, one.context = moved.state, moved.context
    return scores


def is_installed() -> bool:
    """Say whether the network's weights are where the package has them."""
    return _weights().is_file()


def _weights() -> Traversable:
    return resources.files("fastbridge").joinpath("data", "silero_vad_8k.f32")


def listeners(count: int) -> Listeners:
    """Return the memory of `count` calls that have heard nothing yet."""
    import numpy as np

    return Listeners(
        state=np.zeros((2, count, _STATE_WIDTH), dtype=np.float32),
        context=np.zeros((count, CONTEXT_BYTES), dtype=np.float32),
    )
