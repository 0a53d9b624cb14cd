# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: freethreading_compatible=True, embedsignature=True, embedsignature.format=clinic
# cython: binding=False
"""The last seconds of the AI's voice on the caller's clock: compiled, as every sent frame is put here.

No clock of its own, no allocation for a frame. The contract of every name is in `_lines.pyi`; its
slow twin in `tests/lines_oracle.py` says what is right.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.string cimport memcpy, memset


cdef extern from "_base64.h" nogil:
    int64_t fb_decoded_bytes(const uint8_t *text, size_t size)
    size_t fb_padding(const uint8_t *text, size_t size)
    uint32_t fb_decode_groups(const uint8_t *text, size_t groups, uint8_t *to)
    uint32_t fb_decode_last(const uint8_t *text, size_t padding, uint8_t *to)


cdef enum:
    # 4.1 s: the window of a comparison, the longest delay, and the lead before the ear.
    LINE = 1 << 15
    SILENCE = 0xFF
    BYTES_PER_MS = 8
    JOIN = 60 * BYTES_PER_MS
    # Most frames of one message, as _ring_core.h has it.
    MESSAGE = 3 * 160

LINE_BYTES = LINE


cdef class PlayedLine:
    """The AI's voice as the caller's ear gets it, on the caller's clock; about four seconds."""

    cdef uint8_t[LINE] _data
    cdef int64_t _end
    cdef readonly int64_t talkspurts

    def __cinit__(self):
        self.talkspurts = 0
        memset(self._data, SILENCE, LINE)
        self._end = 0

    @property
    def end_ms(self) -> int:
        """When the last sound put here ends, on the caller's clock; 0: there was none."""
        return self._end // BYTES_PER_MS

    cdef int64_t _start(self, int64_t at_ms) noexcept:
        """Return where audio of this time goes; silence is laid over what lies between."""
        cdef int64_t start = max(at_ms, <int64_t>0) * BYTES_PER_MS
        cdef int64_t silent, at, first
        if self._end and start - self._end <= JOIN and self._end - start <= JOIN:
            return self._end
        self.talkspurts += 1
        if start > self._end:
            silent = min(start - self._end, <int64_t>LINE)
            at = (start - silent) % LINE
            first = min(silent, LINE - at)
            memset(self._data + at, SILENCE, <size_t>first)
            memset(self._data, SILENCE, <size_t>(silent - first))
        return start

    cdef void _lay(self, const uint8_t *audio, int64_t count, int64_t start) noexcept:
        """Copy audio to a place; of more than a whole line only its end is kept, there."""
        cdef int64_t kept = min(count, <int64_t>LINE)
        cdef int64_t at = (start + count - kept) % LINE
        cdef int64_t first = min(kept, LINE - at)
        audio += count - kept
        memcpy(self._data + at, audio, <size_t>first)
        memcpy(self._data, audio + first, <size_t>(kept - first))
        self._end = start + count

    def put(self, bytes audio not None, int64_t at_ms) -> None:
        """Lay mu-law audio that begins to play at `at_ms`."""
        self._lay(<const uint8_t *>PyBytes_AS_STRING(audio), PyBytes_GET_SIZE(audio),
                  self._start(at_ms))

    def put_frame(self, bytes message not None, Py_ssize_t head_bytes, Py_ssize_t tail_bytes,
                  int64_t at_ms) -> None:
        """Lay the frames whose base64 stands in a message between head and tail."""
        cdef uint8_t[MESSAGE + 8] frames
        cdef Py_ssize_t size = PyBytes_GET_SIZE(message) - head_bytes - tail_bytes
        cdef const uint8_t *text = <const uint8_t *>PyBytes_AS_STRING(message) + head_bytes
        cdef int64_t count
        cdef size_t padding, groups
        cdef uint32_t bad
        if head_bytes < 0 or tail_bytes < 0 or size < 4:
            raise ValueError(f"a message of {PyBytes_GET_SIZE(message)} bytes holds no frame")
        count = fb_decoded_bytes(text, <size_t>size)
        if not 0 < count <= MESSAGE:
            raise ValueError(f"base64 of {size} characters is no frame, nor up to 3 of them")
        padding = fb_padding(text, <size_t>size)
        groups = <size_t>size // 4 - (padding != 0)
        bad = fb_decode_groups(text, groups, frames)
        if padding:
            bad |= fb_decode_last(text + 4 * groups, padding, frames + 3 * groups)
        if bad:
            raise ValueError("the frame in the message is not base64")
        self._lay(frames, count, self._start(at_ms))

    def cut(self, int64_t at_ms) -> None:
        """Take back everything from `at_ms` on: the carrier threw it away."""
        self._end = min(self._end, max(at_ms, <int64_t>0) * BYTES_PER_MS)

    def take(self, int64_t start_ms, int64_t length_ms) -> bytes:
        """Return what was played in `[start_ms, start_ms + length_ms)`, 0xFF where nothing was."""
        cdef int64_t start = start_ms * BYTES_PER_MS
        cdef int64_t count = max(length_ms, <int64_t>0) * BYTES_PER_MS
        cdef int64_t low = max(max(start, self._end - LINE), <int64_t>0)
        cdef int64_t high = min(start + count, self._end)
        cdef int64_t at, first
        cdef bytes taken = PyBytes_FromStringAndSize(NULL, count)
        cdef uint8_t *to = <uint8_t *>PyBytes_AS_STRING(taken)
        memset(to, SILENCE, <size_t>count)
        if low < high:
            at = low % LINE
            first = min(high - low, LINE - at)
            memcpy(to + low - start, self._data + at, <size_t>first)
            memcpy(to + low - start + first, self._data, <size_t>(high - low - first))
        return taken
