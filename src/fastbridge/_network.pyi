"""The contract of the compiled network."""

# ruff: noqa: PYI021  this stub is where the contract is read; the compiled file is no text

from typing import Final

import numpy as np
from numpy.typing import NDArray

WEIGHTS_BYTES: Final[int]
"""How long the file of weights is."""

class Network:
    """The Silero network at 8 kHz: weights of its own, no memory of any call."""

    def __init__(self, weights: bytes, table: bytes) -> None:
        """Take the weights as `bench/network_weights.py` packs them, and a table of mu-law.

        Both are floats of 32 bits as this machine writes them; the table has what each byte is.

        Raises ValueError where either has another length.
        """

    def score(
        self, windows: list[bytes], state: NDArray[np.float32], context: NDArray[np.float32]
    ) -> list[float]:
        """Return how likely it is speech for each call's next window of 256 mu-law bytes.

        `state` [2, calls, 128] and `context` [calls, 32], float32 and in one piece, are moved on.
        Without the interpreter's lock while it works; from any thread, one at a time.

        Raises ValueError where the shapes do not fit.
        """
