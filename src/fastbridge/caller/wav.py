"""WAV files in and out: any PCM file becomes 8 kHz mu-law, a call becomes a stereo file.

The standard library's `wave` refuses the extensible header before Python 3.12, and 24-bit files
usually have it; so the few header fields are read here (Microsoft's RIFF WAVE description).
"""

from __future__ import annotations

import struct
import wave
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fastbridge.mulaw import NS_PER_BYTE, SAMPLE_RATE_HZ, decode, encode

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SECONDS_MAX: Final = 600
FILE_BYTES_MAX: Final = 256 * 1024 * 1024
RATE_HZ_MAX: Final = 768_000
_PCM, _EXTENSIBLE = 1, 0xFFFE
_PCM_GUID: Final = bytes.fromhex("0100000000001000800000aa00389b71")
_FORMAT_BYTES, _EXTENSIBLE_BYTES = 16, 40
_KINDS: Final = {3: "floating point", 6: "A-law", 7: "mu-law", 2: "ADPCM", 85: "MP3"}


@dataclass(frozen=True, slots=True)
class PcmFile:
    """The samples of a WAV file as stored: interleaved little-endian integers."""

    rate_hz: int
    channels: int
    sample_bytes: int
    data: bytes


def read_mulaw(path: Path) -> bytes:
    """Return the file's sound as 8 kHz mu-law, mixed to one channel.

    Raises:
        ValueError: no PCM WAV of 8, 16, 24 or 32 bits, or longer than 600 s; the text names the
            file, what it is and what is allowed.
        OSError: the file cannot be read.

    """
    import numpy as np
    import soxr

    pcm = read_pcm(path)
    mono = _samples(pcm).mean(axis=1)
    at_8_khz = soxr.resample(mono, pcm.rate_hz, SAMPLE_RATE_HZ)
    return encode(np.clip(np.rint(at_8_khz * 32767), -32768, 32767).astype(np.int16))


def read_pcm(path: Path) -> PcmFile:
    """Read header and samples; errors as `read_mulaw`."""
    with path.open("rb") as file:
        content = file.read(FILE_BYTES_MAX + 1)
    if len(content) > FILE_BYTES_MAX:
        raise ValueError(f"{path} is larger than {FILE_BYTES_MAX} bytes: cut it shorter")
    if content[:4] != b"RIFF" or content[8:12] != b"WAVE":
        raise ValueError(f"{path} is no RIFF WAVE file; give a PCM WAV file")
    chunks = _chunks(content)
    if b"fmt " not in chunks or b"data" not in chunks:
        raise ValueError(f"{path} lacks its fmt or data chunk; it is damaged or cut off")
    pcm = _described(path, chunks[b"fmt "], chunks[b"data"])
    seconds = len(pcm.data) / (pcm.rate_hz * pcm.channels * pcm.sample_bytes)
    if seconds > SECONDS_MAX:
        raise ValueError(f"{path} lasts {seconds:.0f} s; at most {SECONDS_MAX} s are allowed")
    return pcm


def write_stereo(
    path: Path,
    left: Iterable[tuple[int, bytes]],
    right: Iterable[tuple[int, bytes]],
    *,
    start_ns: int,
    end_ns: int,
) -> None:
    """Write two lanes of timed mu-law as 8 kHz 16-bit stereo, aligned by time.

    Args:
        path: where to; an existing file is replaced.
        left: pieces as (monotonic ns of the first sample, mu-law): the caller.
        right: likewise: what the ear heard.
        start_ns: time of the file's first sample; what lies before it is left out.
        end_ns: time of the file's end.

    """
    import numpy as np

    length = max(0, end_ns - start_ns) // NS_PER_BYTE
    frames = np.zeros((length, 2), dtype="<i2")
    for lane, pieces in enumerate((left, right)):
        for at_ns, data in pieces:
            _lay(frames[:, lane], (at_ns - start_ns) // NS_PER_BYTE, decode(data))
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE_HZ)
        file.writeframes(frames.tobytes())


def _lay(lane: NDArray[np.int16], at: int, samples: NDArray[np.int16]) -> None:
    """Put samples at their place; what hangs over an edge of the file is left out."""
    head = max(0, -at)
    tail = max(head, min(len(samples), len(lane) - at))
    lane[at + head : at + tail] = samples[head:tail]


def _chunks(content: bytes) -> dict[bytes, bytes]:
    """Return the first chunk of each name; a `data` chunk cut off by the file's end is taken."""
    chunks: dict[bytes, bytes] = {}
    at = 12
    while at + 8 <= len(content):
        name, size = content[at : at + 4], struct.unpack_from("<I", content, at + 4)[0]
        chunks.setdefault(name, content[at + 8 : at + 8 + size])
        at += 8 + size + size % 2
    return chunks


def _described(path: Path, form: bytes, data: bytes) -> PcmFile:
    if len(form) < _FORMAT_BYTES:
        raise ValueError(f"{path} has a fmt chunk of {len(form)} bytes; 16 are the least")
    kind, channels, rate_hz, _, _, bits = struct.unpack_from("<HHIIHH", form)
    if kind == _EXTENSIBLE and len(form) >= _EXTENSIBLE_BYTES:
        kind = _PCM if form[24:40] == _PCM_GUID else struct.unpack_from("<H", form, 24)[0]
    if kind != _PCM:
        what = _KINDS.get(kind, f"format {kind}")
        raise ValueError(f"{path} holds {what} samples; PCM integers are needed: convert it")
    if bits not in {8, 16, 24, 32}:
        raise ValueError(f"{path} has samples of {bits} bits; 8, 16, 24 or 32 are allowed")
    if not 1 <= channels <= 64 or not 1_000 <= rate_hz <= RATE_HZ_MAX:  # noqa: PLR2004  what any sound card takes
        raise ValueError(
            f"{path} has {channels} channels at {rate_hz} Hz; 1 to 64 channels at 1,000 to"
            f" {RATE_HZ_MAX:,} Hz are allowed"
        )
    width = bits // 8
    return PcmFile(
        rate_hz, channels, width, data[: len(data) // (width * channels) * width * channels]
    )


def _samples(pcm: PcmFile) -> NDArray[np.float64]:
    """Return the samples as rows of channels, -1 to 1; 8-bit WAV samples are unsigned."""
    import numpy as np

    octets = np.frombuffer(pcm.data, dtype=np.uint8).reshape(-1, pcm.sample_bytes)
    if pcm.sample_bytes == 1:
        scaled = (octets[:, 0].astype(np.float64) - 128) / 128
    else:
        wide = np.zeros((len(octets), 4), dtype=np.uint8)
        wide[:, 4 - pcm.sample_bytes :] = octets  # the sign lands in the highest byte
        scaled = wide.view("<i4")[:, 0] / float(1 << 31)
    rows: NDArray[np.float64] = scaled.reshape(-1, pcm.channels)
    return rows
