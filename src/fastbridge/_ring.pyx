# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: freethreading_compatible=True, embedsignature=True, embedsignature.format=clinic
# cython: binding=False
"""The playout ring, compiled: mu-law in, frames or finished carrier messages out, O(1) flush.

One producer, one consumer, and a flush or hold from any thread; the algorithm, its proofs and its
limits are in `_ring_core.h`, the contract of every name in `_ring.pyi`. Nothing here blocks, and
no method releases the GIL: giving it back costs more than copying a frame. On builds without a
GIL the roles must be kept: one producing thread, one consuming thread, one `PagePool` per loop.
After fork() the child has a private copy of every ring. One interpreter of a process may import the
module; in any further one the import is an ImportError (tests/test_ring_threads.py).
`binding=False` because a plain method descriptor is called faster than a Cython function.
"""

cimport cython
from cpython.buffer cimport (
    PyBUF_SIMPLE,
    PyBUF_WRITABLE,
    PyBuffer_Release,
    PyObject_GetBuffer,
)
from cpython.bytes cimport (
    PyBytes_AS_STRING,
    PyBytes_CheckExact,
    PyBytes_FromStringAndSize,
    PyBytes_GET_SIZE,
)
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy


cdef extern from "Python.h":
    bint PyUnicode_IS_ASCII(object text)
    void *PyUnicode_DATA(object text)
    Py_ssize_t PyUnicode_GET_LENGTH(object text)


cdef extern from "_ring_core.h" nogil:
    enum:
        FB_FRAME_BYTES
        FB_MESSAGE_FRAMES_MAX
        FB_FULL
        FB_STALE
        FB_MALFORMED
        FB_PAGE_BYTES
        FB_BYTES_MAX
        FB_EPOCHS
        FB_HOLD

    uint64_t fb_load_relaxed(const uint64_t *word)
    uint64_t fb_load_acquire(const uint64_t *word)
    size_t fb_encoded_bytes(size_t count)
    void fb_encode(const uint8_t *data, size_t count, char *to)
    size_t fb_bad_offset(const uint8_t *text, size_t size)
    int64_t fb_inspect(const uint8_t *text, size_t size)
    int64_t fb_measure(const uint8_t *text, size_t size)
    void fb_pool_start(fb_pool *pool, uint64_t pages_max)
    void fb_pool_end(fb_pool *pool)
    int fb_ring_start(fb_ring *ring, fb_pool *pool, uint64_t limit, uint64_t retain)
    void fb_ring_end(fb_ring *ring)
    uint64_t fb_reclaim(fb_ring *ring)
    int fb_epoch(uint64_t word)
    uint64_t fb_floor(uint64_t word)
    int64_t fb_write(fb_ring *ring, const uint8_t *data, size_t count, int epoch)
    int64_t fb_write_base64(fb_ring *ring, const uint8_t *text, size_t size, int epoch)
    uint64_t fb_readable(const fb_ring *ring, uint64_t word)
    uint64_t fb_flush(fb_ring *ring)
    int fb_set_hold(fb_ring *ring, int held)
    uint64_t fb_look(fb_ring *ring)
    size_t fb_framed(size_t count)
    size_t fb_peek_frames(fb_ring *ring, uint8_t *to, size_t frames, int pad, uint64_t *word)
    size_t fb_peek(fb_ring *ring, uint8_t *to, int pad, uint64_t *word)
    int fb_still(const fb_ring *ring, uint64_t word)
    int fb_take(fb_ring *ring, size_t count, uint64_t word)
    size_t fb_read(fb_ring *ring, uint8_t *to, int pad)
    uint64_t fb_rewindable(fb_ring *ring)
    uint64_t fb_rewind(fb_ring *ring, uint64_t count)
    uint64_t fb_resume(fb_ring *ring, uint64_t count)
    void fb_missed(fb_ring *ring, uint64_t word)


FULL = FB_FULL
STALE = FB_STALE
PAGE_BYTES = <Py_ssize_t>FB_PAGE_BYTES
TEMPLATE_BYTES_MAX = 512
MESSAGE_FRAMES_MAX = FB_MESSAGE_FRAMES_MAX

cdef Py_ssize_t _template_bytes_max = 512
cdef uint64_t _frames_max = <uint64_t>FB_BYTES_MAX // FB_FRAME_BYTES
cdef enum:
    # fb_encode reads eight bytes at a time, the last time up to two beyond the frame.
    SCRATCH_BYTES = FB_FRAME_BYTES + 8
    MESSAGE_BYTES = FB_MESSAGE_FRAMES_MAX * FB_FRAME_BYTES + 8


cdef int _need_count(str name, object value, object least, object most, str unit) except -1:
    """Raise TypeError or ValueError that names field, value and range."""
    if not isinstance(value, int):
        raise TypeError(f"{name} is {value!r}: a number of {unit} is needed")
    if not least <= value <= most:
        raise ValueError(f"{name} is {value}: allowed is {least} to {most} {unit}")
    return 0


cdef int _need_epoch(int epoch) except -1:
    if not 0 <= epoch < FB_EPOCHS:
        raise ValueError(f"epoch is {epoch}: it must come from begin() (0 to {FB_EPOCHS - 1})")
    return 0


cdef const uint8_t *_text_of(object payload, Py_ssize_t *size) except NULL:
    """Return the characters of `str | bytes` without copying; `size` is -1 for a non-ASCII str."""
    if isinstance(payload, str):
        # A compact ASCII str holds its characters as bytes, so nothing is encoded or allocated.
        size[0] = PyUnicode_GET_LENGTH(payload) if PyUnicode_IS_ASCII(payload) else -1
        return <const uint8_t *>PyUnicode_DATA(payload)
    if isinstance(payload, bytes):
        size[0] = PyBytes_GET_SIZE(payload)
        return <const uint8_t *>PyBytes_AS_STRING(payload)
    raise TypeError(f"base64 is a {type(payload).__name__}: str or bytes is needed")


cdef object _base64_error(object payload):
    """Say where `payload` stops being base64."""
    cdef Py_ssize_t size = 0
    cdef const uint8_t *text = _text_of(payload, &size)
    cdef str reason
    if size < 0:
        reason = "it has characters outside ASCII"
    elif size % 4 != 0:
        reason = f"its length {size} is not a multiple of 4 (is the padding '=' missing?)"
    else:
        at = <Py_ssize_t>fb_bad_offset(text, <size_t>size)
        reason = f"character {at} is {chr(text[at])!r}"
    return ValueError(f"delta is not standard base64 (RFC 4648, padded): {reason}")


def inspect_base64(payload) -> int:
    """Return what `payload` decodes to in bytes, or -1 when it is not valid standard base64."""
    cdef Py_ssize_t size = 0
    cdef const uint8_t *text = _text_of(payload, &size)
    return -1 if size < 0 else fb_inspect(text, <size_t>size)


def measure_base64(payload) -> int:
    """Return `bytes << 16 | mean amplitude` of mu-law base64, or -1 when it is not valid."""
    cdef Py_ssize_t size = 0
    cdef const uint8_t *text = _text_of(payload, &size)
    return -1 if size < 0 else fb_measure(text, <size_t>size)


@cython.final
cdef class PagePool:
    """Memory of the paged rings of one event loop: 8 KiB pages, never more than `bytes_max`."""

    def __cinit__(self, *, bytes_max):
        _need_count("bytes_max", bytes_max, FB_PAGE_BYTES, 1 << 48, "bytes")
        self.bytes_max = bytes_max
        fb_pool_start(&self.core, <uint64_t>bytes_max // FB_PAGE_BYTES)

    def __dealloc__(self):
        fb_pool_end(&self.core)

    @property
    def pages_in_use(self) -> int:
        """Pages that rings hold now."""
        return self.core.pages_in_use

    @property
    def pages_free(self) -> int:
        """Pages got from the system that no ring holds now."""
        return self.core.pages_free

    @property
    def refused(self) -> int:
        """Writes that got FULL because the pool had not enough pages."""
        return self.core.refused


# no_gc: a ring refers to bytes and a pool, which refer to nothing, so it is in no cycle; and the
# collector must not take the pool away before the pages are back.
@cython.final
@cython.no_gc
cdef class MulawRing:
    """A mu-law ring for one producer and one consumer; anyone may flush or hold it."""

    def __cinit__(self, *, window_frames=150, rewind_frames=50, PagePool pool=None,
                  backlog_frames_max=0):
        cdef uint64_t limit, retain
        _need_count("window_frames", window_frames, 1, _frames_max, "frames")
        _need_count("rewind_frames", rewind_frames, 0, _frames_max, "frames")
        _need_count("backlog_frames_max", backlog_frames_max, 0, _frames_max, "frames")
        if pool is None and backlog_frames_max:
            raise ValueError(f"backlog_frames_max is {backlog_frames_max}: it needs a pool "
                             "(without one the ring is fixed and holds the window only)")
        total = window_frames + rewind_frames + backlog_frames_max
        _need_count("window_frames + rewind_frames + backlog_frames_max", total, 1, _frames_max,
                    "frames")
        limit = <uint64_t>(window_frames + backlog_frames_max) * FB_FRAME_BYTES
        retain = <uint64_t>rewind_frames * FB_FRAME_BYTES
        self._pool = pool
        self._window_frames = window_frames
        self._message_frames = 1
        if not fb_ring_start(&self.core, NULL if pool is None else &pool.core, limit, retain):
            raise MemoryError(f"no memory for a ring of {total} frames")

    def __dealloc__(self):
        fb_ring_end(&self.core)

    def close(self) -> None:
        """Give all memory back; the ring stays empty, every later write is STALE or FULL."""
        fb_ring_end(&self.core)

    # ---- producer ----

    def begin(self) -> int:
        """Return the current epoch, to be given with every byte of a response."""
        # ORDER: acquire, as in fb_reserve.
        return fb_epoch(fb_load_acquire(&self.core.tail))

    def write(self, data, int epoch) -> int:
        """Append all of `data` or nothing: bytes accepted, STALE or FULL."""
        cdef Py_buffer view
        _need_epoch(epoch)
        if PyBytes_CheckExact(data):  # immutable: needs no export to hold
            return fb_write(&self.core, <const uint8_t *>PyBytes_AS_STRING(data),
                            <size_t>PyBytes_GET_SIZE(data), epoch)
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            return fb_write(&self.core, <const uint8_t *>view.buf, <size_t>view.len, epoch)
        finally:
            PyBuffer_Release(&view)

    cpdef int64_t write_base64(self, delta, int epoch) except? -99:
        """Decode `delta` straight into the ring, all or nothing: bytes accepted, STALE or FULL."""
        cdef Py_ssize_t size = 0
        cdef const uint8_t *text = _text_of(delta, &size)
        cdef int64_t done = FB_MALFORMED
        _need_epoch(epoch)
        if size >= 0:
            done = fb_write_base64(&self.core, text, <size_t>size, epoch)
        if done == FB_MALFORMED:
            raise _base64_error(delta)
        return done

    def reclaim(self) -> int:
        """Give pages that hold nothing readable back to the pool; return how many."""
        return fb_reclaim(&self.core)

    # ---- anyone ----

    def flush(self, bint sync=True) -> int:
        """Make everything unreadable and refuse what is being written; return bytes discarded."""
        cdef uint64_t count = fb_flush(&self.core)
        if sync:
            fb_look(&self.core)
        return count

    def hold(self) -> bool:
        """Stop reads, reversibly; return whether that changed anything."""
        return fb_set_hold(&self.core, 1) != 0

    # ---- consumer ----

    def resume(self, rewind_bytes=0) -> int:
        """End a hold, stepping back by up to `rewind_bytes`; return how many."""
        _need_count("rewind_bytes", rewind_bytes, 0, FB_BYTES_MAX, "bytes")
        return fb_resume(&self.core, rewind_bytes)

    def rewind(self, nbytes) -> int:
        """Step back by up to `nbytes`; return how many."""
        _need_count("nbytes", nbytes, 0, FB_BYTES_MAX, "bytes")
        return fb_rewind(&self.core, nbytes)

    def read_frame(self, bint pad=False):
        """Take the next 160 bytes, or None; with `pad` a partial frame is filled with silence."""
        cdef uint8_t scratch[SCRATCH_BYTES]
        if fb_read(&self.core, scratch, pad) == 0:
            return None
        return PyBytes_FromStringAndSize(<const char *>scratch, FB_FRAME_BYTES)

    def read_frame_into(self, buffer, bint pad=False) -> bool:
        """Take the next 160 bytes into the start of `buffer`; False when there are none."""
        cdef uint8_t scratch[SCRATCH_BYTES]
        cdef Py_buffer view
        PyObject_GetBuffer(buffer, &view, PyBUF_WRITABLE)
        try:
            if view.len < FB_FRAME_BYTES:
                raise ValueError(f"buffer has {view.len} bytes: a frame needs {FB_FRAME_BYTES}")
            if fb_read(&self.core, scratch, pad) == 0:
                return False
            memcpy(view.buf, scratch, FB_FRAME_BYTES)
            return True
        finally:
            PyBuffer_Release(&view)

    def peek_frame(self):
        """Return the next whole frame without taking it, or None."""
        cdef uint8_t scratch[SCRATCH_BYTES]
        cdef uint64_t word = 0
        while fb_peek(&self.core, scratch, 0, &word) != 0:
            if fb_still(&self.core, word):
                return PyBytes_FromStringAndSize(<const char *>scratch, FB_FRAME_BYTES)
        return None

    def set_template(self, bytes prefix not None, bytes suffix not None) -> None:
        """Set what next_message() puts around the base64 of its frames."""
        _need_count("length of prefix", len(prefix), 0, _template_bytes_max, "bytes")
        _need_count("length of suffix", len(suffix), 0, _template_bytes_max, "bytes")
        self._prefix = prefix
        self._suffix = suffix

    def set_message_frames(self, frames) -> None:
        """Set how many frames next_message() takes at most; 1 until then."""
        _need_count("frames", frames, 1, FB_MESSAGE_FRAMES_MAX, "frames")
        self._message_frames = frames

    cpdef object next_message(self, bint pad=False):
        """Take the next frames as prefix + base64 + suffix, or None."""
        cdef uint8_t scratch[SCRATCH_BYTES]
        cdef uint64_t word = 0
        cdef size_t count
        cdef bytes message
        if self._prefix is None:
            raise RuntimeError("next_message() was called before set_template()")
        if self._message_frames != 1:
            return self._next_frames(pad)
        while True:
            # Peek, allocate, take: when there is no memory for the message, no frame is lost.
            count = fb_peek(&self.core, scratch, pad, &word)
            if count == 0:
                fb_missed(&self.core, word)
                return None
            message = self._message_of(scratch, FB_FRAME_BYTES)
            if fb_take(&self.core, count, word):
                return message

    cdef object _next_frames(self, bint pad):
        """Do the same for several frames at once; apart, because one is the commonest."""
        cdef uint8_t scratch[MESSAGE_BYTES]
        cdef uint64_t word = 0
        cdef size_t count
        cdef bytes message
        while True:
            count = fb_peek_frames(&self.core, scratch, self._message_frames, pad, &word)
            if count == 0:
                fb_missed(&self.core, word)
                return None
            message = self._message_of(scratch, fb_framed(count))
            if fb_take(&self.core, count, word):
                return message

    cdef bytes _message_of(self, const uint8_t *frames, size_t size):
        """Build the message in one pass over one new bytes object."""
        cdef Py_ssize_t before = PyBytes_GET_SIZE(self._prefix)
        cdef Py_ssize_t after = PyBytes_GET_SIZE(self._suffix)
        cdef Py_ssize_t inner = <Py_ssize_t>fb_encoded_bytes(size)
        cdef bytes message = PyBytes_FromStringAndSize(NULL, before + inner + after)
        cdef char *to = PyBytes_AS_STRING(message)
        memcpy(to, PyBytes_AS_STRING(self._prefix), <size_t>before)
        to += before
        if size == FB_FRAME_BYTES:  # what the compiler knows it makes faster
            fb_encode(frames, FB_FRAME_BYTES, to)
        else:
            fb_encode(frames, size, to)
        memcpy(to + inner, PyBytes_AS_STRING(self._suffix), <size_t>after)
        return message

    @property
    def message_frames(self) -> int:
        """Most frames of one message."""
        return self._message_frames

    @property
    def rewindable(self) -> int:
        """Bytes that rewind() can step back over now."""
        return fb_rewindable(&self.core)

    # ---- observers: exact on the loop's thread, snapshots elsewhere. ORDER: acquire on the word,
    # relaxed on what one side owns; nothing is decided by them that another thread relies on.

    # The four that are asked for every frame, as calls: from compiled code a property is a detour.

    cpdef bint holds(self) noexcept:
        """Return `is_held`."""
        return (fb_load_acquire(&self.core.tail) & FB_HOLD) != 0

    cpdef int64_t ready_bytes(self) noexcept:
        """Return `readable_bytes`."""
        return <int64_t>fb_readable(&self.core, fb_load_acquire(&self.core.tail))

    cpdef int64_t write_end(self) noexcept:
        """Return `write_position`."""
        return <int64_t>fb_load_relaxed(&self.core.written)

    cpdef int64_t read_end(self) noexcept:
        """Return `read_position`."""
        cdef uint64_t word = fb_load_acquire(&self.core.tail)
        return <int64_t>(fb_load_relaxed(&self.core.written) - fb_readable(&self.core, word))

    @property
    def readable_bytes(self) -> int:
        """AI bytes that lie ready to be read, held or not."""
        return fb_readable(&self.core, fb_load_acquire(&self.core.tail))

    @property
    def writable_bytes(self) -> int:
        """Bytes a write may have now; a pool may still have less."""
        cdef uint64_t used = (fb_load_relaxed(&self.core.written)
                              - fb_load_relaxed(&self.core.head))
        return self.core.limit_bytes - used

    @property
    def unplayed_frames(self) -> int:
        """Readable frames, rounded up, backlog included."""
        return self._unplayed_frames()

    @property
    def window_frames_filled(self) -> int:
        """Readable frames, rounded up, at most the window."""
        return min(self._unplayed_frames(), self._window_frames)

    cdef uint64_t _unplayed_frames(self):
        cdef uint64_t count = fb_readable(&self.core, fb_load_acquire(&self.core.tail))
        return (count + FB_FRAME_BYTES - 1) // FB_FRAME_BYTES

    @property
    def window_frames(self) -> int:
        """The window given to the constructor."""
        return self._window_frames

    @property
    def write_position(self) -> int:
        """AI bytes ever written."""
        return fb_load_relaxed(&self.core.written)

    @property
    def read_position(self) -> int:
        """Position of the next AI byte to be read; a flush moves it on, a rewind back."""
        cdef uint64_t word = fb_load_acquire(&self.core.tail)
        return fb_load_relaxed(&self.core.written) - fb_readable(&self.core, word)

    @property
    def epoch(self) -> int:
        """Flushes so far, modulo 32,768."""
        return fb_epoch(fb_load_acquire(&self.core.tail))

    @property
    def is_held(self) -> bool:
        """Whether reads are stopped by hold()."""
        return (fb_load_acquire(&self.core.tail) & FB_HOLD) != 0

    @property
    def high_water_bytes(self) -> int:
        """Most bytes that ever lay between the write position and the highest byte read."""
        return fb_load_relaxed(&self.core.high_water)

    @property
    def written_bytes(self) -> int:
        """Bytes accepted."""
        return fb_load_relaxed(&self.core.written)

    @property
    def read_bytes(self) -> int:
        """Bytes taken, those read again after a rewind counted again."""
        return fb_load_relaxed(&self.core.read)

    @property
    def flushed_bytes(self) -> int:
        """Bytes discarded by flushes."""
        # A flush that the consumer has not obeyed yet has discarded position..floor already.
        cdef uint64_t word = fb_load_acquire(&self.core.tail)
        cdef uint64_t counted = fb_load_relaxed(&self.core.flushed)
        return (fb_load_relaxed(&self.core.written) - fb_readable(&self.core, word)
                - fb_load_relaxed(&self.core.position) + counted)

    @property
    def stale_writes(self) -> int:
        """Writes refused because their epoch had ended."""
        return fb_load_relaxed(&self.core.stale_writes)

    @property
    def stale_bytes(self) -> int:
        """Bytes of those writes."""
        return fb_load_relaxed(&self.core.stale_bytes)

    @property
    def full_writes(self) -> int:
        """Writes refused because limit or pool was reached."""
        return fb_load_relaxed(&self.core.full_writes)

    @property
    def rewound_bytes(self) -> int:
        """Bytes stepped back over by rewind() and resume()."""
        return fb_load_relaxed(&self.core.rewound)

    @property
    def underruns(self) -> int:
        """Reads that found no frame while the ring was not held."""
        return fb_load_relaxed(&self.core.underruns)
