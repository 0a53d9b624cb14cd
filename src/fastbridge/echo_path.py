"""Does our own voice come back in this call, how late and how loud? Evidence for the echo guard.

`PlayedLine` (compiled, `_lines.pyx`) lays what the carrier was sent on the caller's clock;
`correlate` compares two seconds of it with what came back; `EchoPath` turns one comparison a second
into `EchoMeasured`.

The comparison estimates the impulse response from sent to received (a division of spectra, so that
the colour of speech drops out) and asks how far its strongest 10 ms stand out. Recorded speech,
30 ms diffuse tail, mu-law both ways: echo alone 17-28 dB at losses of 6 to 30 dB and delays to
300 ms, an unrelated talker at most 12, noise at most 5. Under a louder caller a weak echo does not
stand out, and does not matter: such seconds prove little and count little. It cannot tell echo from
double talk, so it opens and closes the guard and is never the gate itself. A run
costs 0.64 ms of CPU, and 0.28 more where something stands out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fastbridge import mulaw
from fastbridge.events import EchoMeasured
from fastbridge.mulaw import bytes_of_ms, ms_of_bytes

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

WINDOW_MS: Final = 2000
"""What one comparison looks at."""
STEP_MS: Final = 1000
"""How often one is made (of a known echo half as often), and the part of the window whose AI speech
counts towards clearing."""
DELAY_MS_MAX: Final = 600
"""Longest echo delay that is found, from the model's ear and back."""

_PEAK_BYTES: Final = bytes_of_ms(10)
_TAIL_BYTES: Final = bytes_of_ms(40)
# So wide is the power of what was sent smoothed: 8 Hz.
_SMOOTH_HZ: Final = 8
_REGULAR: Final = 0.05
_SPOKEN_LEVEL: Final = 180.0 / 32768  # -45 dBov
SPOKEN_MS_MIN: Final = 300
"""Less AI speech than this in a step says nothing."""
_FLOOR_DB: Final = 90.0
LOSS_DB_MAX: Final = 45.0
"""What is weaker than this is no echo anybody could mistake for speech."""
_QUIETER: Final = 10 ** (LOSS_DB_MAX / 10)
# What stands out less is no echo by any limit, and its loss need not be known (0.28 ms).
_RATIO_DB_MIN: Final = 10.0


@dataclass(frozen=True, slots=True)
class Comparison:
    """What one run of `correlate` found.

    `ratio_db`: how far the strongest 10 ms of the impulse response stand out of its median;
    `delay_ms`, `loss_db`: where they lie and how much weaker the echo is than what was sent
    (90 where nothing stands out); `spoken_ms`: AI speech in the last second of the window;
    `near_dbov`: the caller side's level.
    """

    ratio_db: float
    delay_ms: int
    loss_db: float
    spoken_ms: int
    near_dbov: float


def correlate(sent: bytes, received: bytes, *, spoken_ms_min: int = 0) -> Comparison:
    """Compare mu-law that was sent with what came back in the same time (same length, >= 1 s).

    Where the AI spoke less than `spoken_ms_min` in the last second nobody asks for the response.

    Raises ValueError when the lengths differ.
    """
    import numpy as np

    if len(sent) != len(received):
        message = f"received has {len(received)} bytes: sent has {len(sent)}, give the same span"
        raise ValueError(message)
    # Floats of 32 bits: half the time of 64, and the same to a hundredth of a dB.
    far, near = mulaw.decode_floats(sent), mulaw.decode_floats(received)
    spoken_ms = _spoken_ms(far[-bytes_of_ms(STEP_MS) :])
    near_power = float(near @ near) / max(near.size, 1)
    near_dbov = 10 * float(np.log10(near_power + 1e-9))
    far_power = float(far @ far) / max(far.size, 1)
    # `_loss_db` is of a projection of `near`, so never less than the distance of the two levels:
    # of a caller's side that is so quiet the verdict is known without any FFT.
    is_known = near_power * _QUIETER < far_power or far_power == 0.0 or near_power == 0.0
    if is_known or spoken_ms < spoken_ms_min:
        return Comparison(0.0, 0, _FLOOR_DB, spoken_ms, near_dbov)
    size = _size(far.size + bytes_of_ms(DELAY_MS_MAX))
    far_bins = np.fft.rfft(far, size)
    response = _response(far_bins, np.fft.rfft(near, size))
    energy = _sums(response, _PEAK_BYTES)
    at = int(energy.argmax())
    middle = float(np.partition(energy, energy.size // 2)[energy.size // 2])
    ratio_db = 10 * float(np.log10(energy[at] / max(middle, 1e-12)))
    loss_db = _FLOOR_DB
    if ratio_db >= _RATIO_DB_MIN:
        loss_db = _loss_db(far, near, far_bins, response, at)
    # The window of 10 ms is strongest where it holds the whole peak: the peak is in its middle.
    return Comparison(ratio_db, ms_of_bytes(at + _PEAK_BYTES // 2), loss_db, spoken_ms, near_dbov)


def _size(least: int) -> int:
    """Return a length of at least so much whose only factors are 2, 3 and 5: fast to transform.

    What wraps around beyond the longest delay is not looked at, so the padding need be no longer.
    """
    size = 1 << (least - 1).bit_length()
    for odd in (3, 5, 9, 15, 25, 27, 45, 75, 81):
        rest = -(-least // odd)
        size = min(size, odd << (rest - 1).bit_length())
    return size


def _sums(response: NDArray[np.float32], width: int) -> NDArray[np.float64]:
    """Return the energy of each `width` samples of the response."""
    import numpy as np

    whole = np.zeros(response.size + 1)
    np.cumsum(response * response, dtype=np.float64, out=whole[1:])
    sums: NDArray[np.float64] = whole[width:] - whole[:-width]
    return sums


def _spoken_ms(far: NDArray[np.float32]) -> int:
    import numpy as np

    frames = far[: far.size - far.size % mulaw.FRAME_BYTES].reshape(-1, mulaw.FRAME_BYTES)
    power = np.einsum("ij,ij->i", frames, frames)
    spoken = np.count_nonzero(power > mulaw.FRAME_BYTES * _SPOKEN_LEVEL**2)
    return int(spoken) * mulaw.FRAME_MS


def _response(
    far: NDArray[np.complexfloating], near: NDArray[np.complexfloating]
) -> NDArray[np.float32]:
    """Return the impulse response from far to near, lags 0 to `DELAY_MS_MAX`."""
    import numpy as np

    width = round(2 * (far.size - 1) * _SMOOTH_HZ / mulaw.SAMPLE_RATE_HZ) | 1
    power = _smooth(far.real**2 + far.imag**2, width)
    ratio = np.conj(far) * near
    ratio /= power + power.mean() * np.float32(_REGULAR)
    found = np.fft.irfft(ratio)[: bytes_of_ms(DELAY_MS_MAX)]
    return found.astype(np.float32, copy=False)


def _smooth(power: NDArray[np.float32], width: int) -> NDArray[np.float32]:
    """Return the mean over `width` bins (odd) around each one, zeros beyond the ends."""
    import numpy as np

    half = width // 2
    summed = np.empty(power.size + width)
    summed[: half + 1] = 0
    np.cumsum(power, dtype=np.float64, out=summed[half + 1 : half + 1 + power.size])
    summed[half + 1 + power.size :] = summed[half + power.size]
    means = np.empty_like(power)
    np.subtract(summed[width:], summed[:-width], out=means, casting="same_kind")
    means *= np.float32(1 / width)
    return means


def _loss_db(
    far: NDArray[np.float32],
    near: NDArray[np.float32],
    far_bins: NDArray[np.complexfloating],
    response: NDArray[np.float32],
    at: int,
) -> float:
    """Return how many dB the echo found at lag `at` is weaker than what was sent."""
    import numpy as np

    size = 2 * (far_bins.size - 1)
    kernel = np.zeros(size, np.float32)
    begin = max(at - _PEAK_BYTES // 2, 0)
    tail = response[begin : begin + _TAIL_BYTES]
    kernel[begin : begin + tail.size] = tail
    shape = np.fft.irfft(np.fft.rfft(kernel) * far_bins, size)[: far.size]
    power = float(shape @ shape)
    if power == 0.0:
        return _FLOOR_DB
    # The regularised response is too small: its size follows from what came back.
    gain = max(float(near @ shape) / power, 0.0)
    share = power * gain**2 / float(far @ far)
    return min(-10 * float(np.log10(share + 1e-9)), _FLOOR_DB)


@dataclass(frozen=True, slots=True)
class ProbeLimits:
    """When a call has an echo path and when it is cleared of one."""

    # A response that stands out by so much is an echo. Unrelated speech reached 12 dB.
    ratio_db: float = 14.0
    # Near silence correlates with anything.
    loss_db_max: float = LOSS_DB_MAX
    # So much AI speech without one clears a call that never had one ...
    clear_ms: int = 3000
    # ... and so much one that had (every other second is looked at, so it takes twice as long):
    # double talk hides an echo for seconds.
    forget_ms: int = 10_000
    # Above this the caller side is no silence, and finding nothing there counts a third.
    loud_dbov: float = -40.0
    spoken_ms_min: int = SPOKEN_MS_MIN
    # A change of delay or loss by so much is told again.
    delay_ms_told: int = 20
    loss_db_told: float = 3.0


class EchoPath:
    """What is known of one call's echo. `verdict` is None until it was measured."""

    __slots__ = ("_clean_ms", "_suspect_ms", "delay_ms", "limits", "loss_db", "verdict")

    def __init__(self, limits: ProbeLimits | None = None) -> None:
        self.limits = limits or ProbeLimits()
        self.verdict: bool | None = None
        self.delay_ms = 0
        self.loss_db = 0.0
        self._clean_ms = 0
        self._suspect_ms: int | None = None

    @property
    def is_suspected(self) -> bool:
        """Say whether the latest comparison found what another must confirm."""
        return self._suspect_ms is not None and not self.verdict

    def compared(self, found: Comparison) -> EchoMeasured | None:
        """Take one comparison; return the verdict when it is new or has moved."""
        limits = self.limits
        if found.spoken_ms < limits.spoken_ms_min:
            return None
        if found.ratio_db >= limits.ratio_db and found.loss_db <= limits.loss_db_max:
            return self._found(found) if self._is_confirmed(found) else None
        self._suspect_ms = None
        is_loud = found.near_dbov > limits.loud_dbov
        self._clean_ms += found.spoken_ms // 3 if is_loud else found.spoken_ms
        needed_ms = limits.forget_ms if self.verdict else limits.clear_ms
        if self.verdict is False or self._clean_ms < needed_ms:
            return None
        self.verdict, self.delay_ms, self.loss_db = False, 0, 0.0
        return EchoMeasured(has_echo=False)

    def _is_confirmed(self, found: Comparison) -> bool:
        """Say whether a delay is the one that is known, or that of the comparison before.

        One alone may be chance, and under a caller who talks over the echo it often is.
        """
        earlier, self._suspect_ms = self._suspect_ms, found.delay_ms
        known = [self.delay_ms] if self.verdict else []
        known += [earlier] if earlier is not None else []
        return any(abs(one - found.delay_ms) < self.limits.delay_ms_told for one in known)

    def _found(self, found: Comparison) -> EchoMeasured | None:
        limits = self.limits
        self._clean_ms = 0
        is_told = (
            self.verdict is True
            and abs(found.delay_ms - self.delay_ms) < limits.delay_ms_told
            and abs(found.loss_db - self.loss_db) < limits.loss_db_told
        )
        self.verdict = True
        if is_told:
            return None
        self.delay_ms, self.loss_db = found.delay_ms, round(found.loss_db, 1)
        return EchoMeasured(has_echo=True, delay_ms=self.delay_ms, loss_db=self.loss_db)
