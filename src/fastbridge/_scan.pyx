# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: freethreading_compatible=True, embedsignature=True, embedsignature.format=clinic
# cython: binding=False
"""The three messages that come many times a second, found without parsing: compiled.

Each function knows one shape and returns None for everything else, which then goes to the full
parser in `wire`; that both agree wherever this one answers is proved by differential fuzzing
(tests/test_scan.py). The contract of every name is in `_scan.pyi`.
"""

from cpython.bytes cimport (
    PyBytes_AS_STRING,
    PyBytes_CheckExact,
    PyBytes_FromStringAndSize,
    PyBytes_GET_SIZE,
)
from libc.stdint cimport int64_t, uint8_t
from libc.string cimport memcmp, memcpy


cdef extern from "Python.h":
    object PyUnicode_New(Py_ssize_t size, Py_UCS4 largest)
    void *PyUnicode_DATA(object text)


cdef extern from "_base64.h" nogil:
    int64_t fb_measure(const uint8_t *text, size_t size)


cdef extern from "_scan.h" nogil:
    ctypedef struct fs_slice:
        const uint8_t *at
        size_t size

    ctypedef struct fs_media:
        fs_slice event, sequence, stream_sid, track, chunk, timestamp, payload

    ctypedef struct fs_mark:
        fs_slice event, sequence, stream_sid, name

    ctypedef struct fs_delta:
        fs_slice type, event_id, response_id, item_id, delta

    int fs_scan_media(const uint8_t *text, size_t size, fs_media *found)
    int fs_scan_mark(const uint8_t *text, size_t size, fs_mark *found)
    int fs_scan_delta(const uint8_t *text, size_t size, fs_delta *found)
    int64_t fs_digits(const fs_slice *one)


cdef enum:
    # A longer name is none of ours; the parser cuts it.
    MARK_NAME = 256


cdef str _text(fs_slice *one):
    """Copy a slice that is proven ASCII."""
    cdef object text = PyUnicode_New(<Py_ssize_t>one.size, 127)
    if one.size:
        memcpy(PyUnicode_DATA(text), one.at, one.size)
    return <str>text


cdef inline bint _is_ours(fs_slice *one, bytes stream_sid):
    """Say whether a message is of this stream, which has a name."""
    return (one.size == <size_t>PyBytes_GET_SIZE(stream_sid) and one.size != 0
            and memcmp(one.at, PyBytes_AS_STRING(stream_sid), one.size) == 0)


def scan_media(text, bytes stream_sid not None):
    """Return `(payload, bytes, level, timestamp_ms)` of inbound audio, or None."""
    cdef fs_media found
    cdef int64_t measured
    if not PyBytes_CheckExact(text):
        return None
    if not fs_scan_media(<const uint8_t *>PyBytes_AS_STRING(text),
                         <size_t>PyBytes_GET_SIZE(text), &found):
        return None
    if not _is_ours(&found.stream_sid, stream_sid):
        return None
    measured = fb_measure(found.payload.at, found.payload.size)
    if measured >> 16 <= 0:
        return None
    return (_text(&found.payload), measured >> 16, measured & 0xFFFF,
            fs_digits(&found.timestamp))


def scan_mark(text, bytes stream_sid not None):
    """Return the name in a mark that came back, or None."""
    cdef fs_mark found
    if not PyBytes_CheckExact(text):
        return None
    if not fs_scan_mark(<const uint8_t *>PyBytes_AS_STRING(text),
                        <size_t>PyBytes_GET_SIZE(text), &found):
        return None
    if not _is_ours(&found.stream_sid, stream_sid) or found.name.size > MARK_NAME:
        return None
    return _text(&found.name)


def scan_delta(text):
    """Return `(response_id, item_id, delta)` of an audio delta, or None."""
    cdef fs_delta found
    if not PyBytes_CheckExact(text):
        return None
    if not fs_scan_delta(<const uint8_t *>PyBytes_AS_STRING(text),
                         <size_t>PyBytes_GET_SIZE(text), &found):
        return None
    return _text(&found.response_id), _text(&found.item_id), _text(&found.delta)
