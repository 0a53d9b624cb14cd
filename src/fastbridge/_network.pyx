# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: freethreading_compatible=True, embedsignature=True, embedsignature.format=clinic
# cython: binding=False
"""The Silero network in C. The contract of every name is in `_network.pyi`."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.stdint cimport uint8_t
from libc.string cimport memcpy, memset


cdef extern from "_network.h" nogil:
    enum:
        FB_BATCH
        FB_CONTEXT
        FB_STATE
        FB_WEIGHTS
        FB_WINDOW
    ctypedef struct fb_pass:
        pass
    void fb_network(const float *weights, const float *table, fb_pass *at, size_t count,
                    const uint8_t *audio, float *hidden, float *cell, float *context,
                    float *scores)

WEIGHTS_BYTES = FB_WEIGHTS * sizeof(float)


cdef class Network:
    """The network and its weights."""

    cdef float *_weights
    cdef fb_pass *_pass
    cdef float[256] _table

    def __cinit__(self, bytes weights not None, bytes table not None):
        if PyBytes_GET_SIZE(weights) != FB_WEIGHTS * sizeof(float):
            raise ValueError(
                f"weights of {PyBytes_GET_SIZE(weights)} bytes: {FB_WEIGHTS * sizeof(float)} needed"
            )
        if PyBytes_GET_SIZE(table) != sizeof(self._table):
            raise ValueError(f"a table of {PyBytes_GET_SIZE(table)} bytes: 256 floats are needed")
        self._weights = <float *>PyMem_Malloc(FB_WEIGHTS * sizeof(float))
        self._pass = <fb_pass *>PyMem_Malloc(sizeof(fb_pass))
        if self._weights is NULL or self._pass is NULL:
            raise MemoryError
        memcpy(self._weights, PyBytes_AS_STRING(weights), FB_WEIGHTS * sizeof(float))
        memcpy(self._table, PyBytes_AS_STRING(table), sizeof(self._table))
        memset(self._pass, 0, sizeof(fb_pass))

    def __dealloc__(self):
        PyMem_Free(self._weights)
        PyMem_Free(self._pass)

    def score(self, list windows not None, float[:, :, ::1] state not None,
              float[:, ::1] context not None):
        """Return how likely each window is speech."""
        cdef Py_ssize_t count = len(windows), begin
        cdef bytes audio = b"".join(windows)
        cdef const uint8_t *heard = <const uint8_t *>PyBytes_AS_STRING(audio)
        cdef float[FB_BATCH] scores
        cdef size_t step, n
        cdef list found = []
        if PyBytes_GET_SIZE(audio) != count * FB_WINDOW:
            raise ValueError(f"{count} windows of {len(audio)} bytes in all: each has {FB_WINDOW}")
        if state.shape[0] != 2 or state.shape[1] != count or state.shape[2] != FB_STATE:
            raise ValueError(f"the state is no [2, {count}, {FB_STATE}]")
        if context.shape[0] != count or context.shape[1] != FB_CONTEXT:
            raise ValueError(f"the context is no [{count}, {FB_CONTEXT}]")
        for begin in range(0, count, FB_BATCH):
            step = <size_t>min(count - begin, <Py_ssize_t>FB_BATCH)
            with nogil:
                fb_network(self._weights, self._table, self._pass, step,
                           heard + begin * FB_WINDOW, &state[0, begin, 0], &state[1, begin, 0],
                           &context[begin, 0], scores)
            for n in range(step):
                found.append(scores[n])
        return found
