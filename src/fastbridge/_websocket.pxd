"""The C side of `_websocket`: what other compiled modules may call without a detour."""

from libc.stdint cimport uint8_t, uint64_t


cdef extern from "_websocket.h" nogil:
    enum:
        FW_HEAD_MAX
        FW_CONTROL_MAX

    ctypedef struct fw_head:
        int is_final
        int opcode
        int is_masked
        uint8_t mask[4]
        uint64_t size


cdef class Socket:
    cdef readonly bint is_client
    cdef readonly Py_ssize_t message_bytes_max
    cdef object _on_text, _on_binary, _on_end, _on_lost, _write, _unsent, _is_closing
    # Where bytes go without the transport, which may hold some that it could not write.
    cdef int _fd
    cdef bint _may_wait
    cdef readonly object transport
    cdef public object on_room
    cdef readonly int close_code
    cdef readonly str close_reason
    cdef readonly bint has_ended, has_failed, is_close_sent, is_writing_paused
    cdef readonly uint64_t received_messages, received_reads, sent_messages
    cdef readonly uint64_t pongs_withheld
    # Where the stream is: a head that is not complete, or a payload of which `_left` is missing.
    cdef uint8_t[FW_HEAD_MAX] _head_bytes
    cdef size_t _head_have, _left, _got
    cdef bint _is_in_payload, _is_deaf
    cdef fw_head _head
    cdef uint8_t _seen
    cdef bytes _payload
    cdef bytearray _fragments
    cdef int _fragment_opcode
    cdef uint8_t _fragment_seen
    cdef uint8_t[FW_CONTROL_MAX] _control
    # What is written while corked leaves in one write.
    cdef int _corks
    cdef list _corked
    cdef size_t _corked_bytes
    cdef readonly Socket partner

    cdef int _end(self, int code, str reason) except -1
    cdef int _fail(self, int code, str reason) except -1
    cdef Py_ssize_t _step(self, const uint8_t *at, size_t have) except -1
    cdef int _begin_payload(self) except -1
    cdef size_t _take_payload(self, const uint8_t *at, size_t have) except? 0
    cdef int _data_frame(self) except -1
    cdef int _control_frame(self) except -1
    cdef int _close_frame(self, bytes payload) except -1
    cdef uint8_t *_frame(self, uint8_t *to, int opcode, const uint8_t *first, size_t first_size,
                         const uint8_t *second, size_t second_size, const uint8_t *third,
                         size_t third_size) except NULL
    cdef int _frame_out(self, int opcode, bytes payload) except -1
    cdef int _put(self, bytes frames) except -1
    cdef int _hand_over(self, bytes frames) except -1
    cpdef object cork(self)
    cpdef object push(self)
    cpdef object uncork(self)
    cdef int _uncork(self) except -1
    cpdef bint send(self, message, second=*) except *
    cpdef bint send_between(self, bytes head, middle, bytes tail) except *
    cpdef Py_ssize_t waiting_bytes(self) except -1
