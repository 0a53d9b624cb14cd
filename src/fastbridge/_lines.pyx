# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: freethreading_compatible=True, embedsignature=True, embedsignature.format=clinic
# cython: binding=False
"""The last seconds of the AI's voice on the caller's clock: compiled, as every sent frame is put here.

No clock of its own, no allocation for a frame. The contract of every name is in `_lines.pyi`; its
slow twin in `tests/lines_oracle.py` says what is right.
"""

from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.string cimport memcpy, memset


cdef extern from "Python.h":
    bint PyUnicode_IS_ASCII(object text)
    void *PyUnicode_DATA(object text)
    Py_ssize_t PyUnicode_GET_LENGTH(object text)


cdef extern from "_base64.h" nogil:
    int64_t fb_decoded_bytes(const uint8_t *text, size_t size)
    size_t fb_padding(const uint8_t *text, size_t size)
    uint32_t fb_decode_groups(const uint8_t *text, size_t groups, uint8_t *to)
    uint32_t fb_decode_last(const uint8_t *text, size_t padding, uint8_t *to)


cdef enum:
    SILENCE = 0xFF
    BYTES_PER_MS = 8
    JOIN = 60 * BYTES_PER_MS
    # Most frames of one message, as _ring_core.h has it.
    MESSAGE = 3 * 160

LINE_BYTES = LINE
NEAR_BYTES = NEAR_KEPT
NEAR_SHORT_BYTES = NEAR_SHORT


cdef class NearLine:
    """The last two seconds of the caller in one piece, or half a second where that will do."""

    def __cinit__(self):
        self.kept_bytes = 0
        self._end = 0
        self._resize(NEAR)

    def __dealloc__(self):
        PyMem_Free(self._data)

    cpdef object put(self, str payload, int64_t count):
        """Add a frame: `payload` is valid base64 of `count` mu-law bytes."""
        cdef uint8_t[MESSAGE + 8] some
        cdef const uint8_t *text
        cdef size_t size, padding, groups, step
        if payload is None:
            raise TypeError("a payload is None: str is needed")
        text = <const uint8_t *>PyUnicode_DATA(payload)
        size = <size_t>PyUnicode_GET_LENGTH(payload)
        if not PyUnicode_IS_ASCII(payload) or fb_decoded_bytes(text, size) != count or count <= 0:
            raise ValueError(f"{size} characters are not base64 of {count} bytes")
        if count > self._size:
            self._resize(NEAR)  # a frame is kept whole, whatever its length
        padding = fb_padding(text, size)
        groups = size // 4 - (padding != 0)
        while groups:
            step = min(groups, <size_t>(MESSAGE // 3))
            fb_decode_groups(text, step, some)
            self._lay(some, <int64_t>(3 * step))
            text += 4 * step
            groups -= step
        if padding:
            fb_decode_last(text, padding, some)
            self._lay(some, <int64_t>(3 - padding))

    cdef void _lay(self, const uint8_t *audio, int64_t count) noexcept:
        cdef int64_t at = self._end & (self._size - 1)
        cdef int64_t first = min(count, self._size - at)
        memcpy(self._data + at, audio, <size_t>first)
        memcpy(self._data, audio + first, <size_t>(count - first))
        self._end += count
        self.kept_bytes = min(self.kept_bytes + count, min(self._size, <int64_t>NEAR_KEPT))

    cdef int _resize(self, int64_t size) except -1:
        """Take another piece of memory; of what is kept the latest goes with it."""
        cdef uint8_t *data = <uint8_t *>PyMem_Malloc(<size_t>size)
        cdef int64_t at
        if data is NULL:
            raise MemoryError
        self.kept_bytes = min(self.kept_bytes, min(size, <int64_t>NEAR_KEPT))
        for at in range(self._end - self.kept_bytes, self._end):
            data[at & (size - 1)] = self._data[at & (self._size - 1)]
        PyMem_Free(self._data)
        self._data, self._size = data, size
        return 0

    cpdef object widen(self):
        """Keep two seconds from now on, as at first."""
        if self._size < NEAR:
            self._resize(NEAR)

    cpdef object narrow(self):
        """Keep half a second from now on."""
        if self._size > NEAR_SHORT:
            self._resize(NEAR_SHORT)

    cpdef bytes take(self, int64_t back_bytes, int64_t count):
        """Return `count` bytes from `back_bytes` before the end on."""
        cdef int64_t at, first
        cdef bytes taken
        cdef uint8_t *to
        if not 0 <= count <= back_bytes <= self.kept_bytes:
            raise ValueError(f"{count} bytes from {back_bytes} back: {self.kept_bytes} are kept")
        taken = PyBytes_FromStringAndSize(NULL, count)
        to = <uint8_t *>PyBytes_AS_STRING(taken)
        at = (self._end - back_bytes) & (self._size - 1)
        first = min(count, self._size - at)
        memcpy(to, self._data + at, <size_t>first)
        memcpy(to + first, self._data, <size_t>(count - first))
        return taken

    cpdef object clear(self):
        """Forget all of it."""
        self.kept_bytes = 0


cdef class PlayedLine:
    """The AI's voice as the caller's ear gets it, on the caller's clock; the last of it."""

    def __cinit__(self, int64_t kept_bytes=LINE):
        if kept_bytes < MESSAGE:
            raise ValueError(f"a line of {kept_bytes} bytes: at least {MESSAGE}, a whole message")
        self._data = <uint8_t *>PyMem_Malloc(<size_t>kept_bytes)
        if self._data is NULL:
            raise MemoryError
        self._size = kept_bytes
        self.talkspurts = 0
        memset(self._data, SILENCE, <size_t>kept_bytes)
        self._end = 0

    def __dealloc__(self):
        PyMem_Free(self._data)

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
            silent = min(start - self._end, self._size)
            at = (start - silent) % self._size
            first = min(silent, self._size - at)
            memset(self._data + at, SILENCE, <size_t>first)
            memset(self._data, SILENCE, <size_t>(silent - first))
        return start

    cdef void _lay(self, const uint8_t *audio, int64_t count, int64_t start) noexcept:
        """Copy audio to a place; of more than a whole line only its end is kept, there."""
        cdef int64_t kept = min(count, self._size)
        cdef int64_t at = (start + count - kept) % self._size
        cdef int64_t first = min(kept, self._size - at)
        audio += count - kept
        memcpy(self._data + at, audio, <size_t>first)
        memcpy(self._data, audio + first, <size_t>(kept - first))
        self._end = start + count

    def put(self, bytes audio not None, int64_t at_ms) -> None:
        """Lay mu-law audio that begins to play at `at_ms`."""
        self._lay(<const uint8_t *>PyBytes_AS_STRING(audio), PyBytes_GET_SIZE(audio),
                  self._start(at_ms))

    cpdef object put_frame(self, bytes message, Py_ssize_t head_bytes, Py_ssize_t tail_bytes,
                           int64_t at_ms):
        """Lay the frames whose base64 stands in a message between head and tail."""
        cdef uint8_t[MESSAGE + 8] frames
        cdef Py_ssize_t size
        cdef const uint8_t *text
        cdef int64_t count
        cdef size_t padding, groups
        cdef uint32_t bad
        if message is None:
            raise TypeError("a message is None: bytes are needed")
        size = PyBytes_GET_SIZE(message) - head_bytes - tail_bytes
        text = <const uint8_t *>PyBytes_AS_STRING(message) + head_bytes
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

    cpdef int64_t ends_ms(self) noexcept:
        """Return `end_ms`; asked for every frame, and compiled a call is cheaper."""
        return self._end // BYTES_PER_MS

    cpdef bytes take(self, int64_t start_ms, int64_t length_ms):
        """Return what was played in `[start_ms, start_ms + length_ms)`, 0xFF where nothing was."""
        cdef int64_t start = start_ms * BYTES_PER_MS
        cdef int64_t count = max(length_ms, <int64_t>0) * BYTES_PER_MS
        cdef int64_t low = max(max(start, self._end - self._size), <int64_t>0)
        cdef int64_t high = min(start + count, self._end)
        cdef int64_t at, first
        cdef bytes taken = PyBytes_FromStringAndSize(NULL, count)
        cdef uint8_t *to = <uint8_t *>PyBytes_AS_STRING(taken)
        memset(to, SILENCE, <size_t>count)
        if low < high:
            at = low % self._size
            first = min(high - low, self._size - at)
            memcpy(to + low - start, self._data + at, <size_t>first)
            memcpy(to + low - start + first, self._data, <size_t>(high - low - first))
        return taken
