# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: freethreading_compatible=True, embedsignature=True, embedsignature.format=clinic
# cython: binding=False
"""Pure tones in C. The contract of every name is in `_tones.pyi`."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t


cdef extern from "_tones.h" nogil:
    enum:
        FB_TONE_SAMPLES
    ctypedef struct fb_tone_tables:
        pass
    void fb_prepare_tones(fb_tone_tables *at, const float *heard)
    bint fb_is_tone(const fb_tone_tables *at, const uint8_t *audio, double lowest_hz,
                    double highest_hz, double weakest, double rest_max)


cdef class ToneJudge:
    """The rule and its limits."""

    cdef fb_tone_tables _tables
    cdef double _lowest_hz, _highest_hz, _weakest, _rest_max

    def __cinit__(self, bytes table not None, *, double lowest_hz, double highest_hz,
                  double weakest, double rest_max):
        if PyBytes_GET_SIZE(table) != 256 * sizeof(float):
            raise ValueError(f"a table of {PyBytes_GET_SIZE(table)} bytes: 256 floats are needed")
        fb_prepare_tones(&self._tables, <const float *>PyBytes_AS_STRING(table))
        self._lowest_hz, self._highest_hz = lowest_hz, highest_hz
        self._weakest, self._rest_max = weakest, rest_max

    cpdef bint is_tone(self, bytes audio) except -1:
        """Say whether a window holds nothing but one or two steady tones."""
        if audio is None or PyBytes_GET_SIZE(audio) != FB_TONE_SAMPLES:
            raise ValueError(f"a window of {FB_TONE_SAMPLES} bytes is needed")
        return fb_is_tone(&self._tables, <const uint8_t *>PyBytes_AS_STRING(audio),
                          self._lowest_hz, self._highest_hz, self._weakest, self._rest_max)
