# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: embedsignature=True, embedsignature.format=clinic, binding=False
"""One WebSocket after its handshake, compiled: an asyncio protocol that calls back per message.

aiohttp (carrier side) or `websockets` (AI side) performs the handshake and hands the transport
over; from then on bytes come here without a task switch or a queue between socket and call. The
contract of every name is in `_websocket.pyi`, framing in `_websocket.h`. Section numbers are those
of RFC 6455. One event loop's thread only.
"""

cimport cython
from cpython.bytes cimport (
    PyBytes_AS_STRING,
    PyBytes_CheckExact,
    PyBytes_FromStringAndSize,
    PyBytes_GET_SIZE,
)
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcpy

import os


cdef extern from "Python.h":
    bint PyUnicode_IS_ASCII(object text)
    void *PyUnicode_DATA(object text)
    Py_ssize_t PyUnicode_GET_LENGTH(object text)


cdef extern from "_websocket.h" nogil:
    enum:
        FW_CONTINUATION
        FW_TEXT
        FW_BINARY
        FW_CLOSE
        FW_PING
        FW_PONG

    int fw_read_head(const uint8_t *data, size_t have, fw_head *head)
    size_t fw_head_bytes(size_t size, int is_masked)
    size_t fw_write_head(uint8_t *to, int opcode, size_t size, int is_masked)
    uint8_t fw_mask(const uint8_t *data, size_t size, const uint8_t *mask, size_t phase,
                    uint8_t *to)
    int fw_is_close_code(unsigned code)
    Py_ssize_t fw_send(int fd, const char *data, size_t size)


OK = 1000
PROTOCOL_ERROR = 1002
NO_CODE = 1005
ABNORMAL = 1006
NOT_UTF8 = 1007
TOO_LARGE = 1009

cdef enum:
    MASKS = 1024
    # Beyond this much unsent, pings get no pong: a peer that does not read must not fill memory.
    PONG_LIMIT = 16384

cdef uint8_t[4] _no_mask = [0, 0, 0, 0]

# Masks must not be foreseeable (10.3): the kernel's randomness, fetched for 256 frames at once.
cdef bytes _masks = b""
cdef Py_ssize_t _mask_at = 0


cdef int _next_mask(uint8_t *to) except -1:
    global _masks, _mask_at
    if _mask_at + 4 > PyBytes_GET_SIZE(_masks):
        _masks = os.urandom(MASKS)
        _mask_at = 0
    memcpy(to, PyBytes_AS_STRING(_masks) + _mask_at, 4)
    _mask_at += 4
    return 0


def forget_masks() -> None:
    """Throw fetched masks away: a forked child must not share them with its parent."""
    global _masks
    _masks = b""


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=forget_masks)


cdef const uint8_t *_text_of(object text, Py_ssize_t *size) except NULL:
    """Return the bytes of `bytes` or of an ASCII `str`, without copying."""
    if PyBytes_CheckExact(text):
        size[0] = PyBytes_GET_SIZE(text)
        return <const uint8_t *>PyBytes_AS_STRING(text)
    if isinstance(text, str) and PyUnicode_IS_ASCII(text):
        size[0] = PyUnicode_GET_LENGTH(text)
        return <const uint8_t *>PyUnicode_DATA(text)
    raise TypeError(f"a message is a {type(text).__name__}: bytes or ASCII str is needed")


cdef int _plain_fd(transport) except? -1:
    """Return the descriptor of a transport that passes bytes on as they are, else -1."""
    raw = transport.get_extra_info("socket")
    if raw is None or transport.get_extra_info("sslcontext") is not None:
        return -1
    return raw.fileno()


cdef class Socket:
    """A WebSocket's frames, both directions, on somebody's transport."""

    def __cinit__(self, *, bint is_client, Py_ssize_t message_bytes_max):
        self.is_client = is_client
        self.message_bytes_max = message_bytes_max
        self.close_code = 0
        self.close_reason = ""
        self._corked = []
        self._fd = -1

    # ---- life

    def attach(self, transport, on_text, on_binary, on_end, on_lost) -> None:
        """Take a transport over; bytes that came before go to `data_received` next."""
        self._on_text, self._on_binary = on_text, on_binary
        self._on_end, self._on_lost = on_end, on_lost
        self.transport = transport
        self._write = transport.write
        self._unsent = transport.get_write_buffer_size
        self._is_closing = transport.is_closing
        self._fd = _plain_fd(transport)
        self._may_wait = True
        transport.set_protocol(self)

    def accompany(self, Socket partner) -> None:
        """Let what the callbacks of one wake-up write to `partner` leave in one write."""
        self.partner = partner

    def connection_made(self, transport) -> None:
        """Do nothing: the transport was made long before it came here."""

    def connection_lost(self, exc) -> None:
        """End, and tell the owner that the transport is gone."""
        on_lost, self._on_lost = self._on_lost, None
        if not self.has_ended:
            reason = "" if exc is None else f"{type(exc).__name__}: {exc}"
            self._end(ABNORMAL, reason)
        self._write = self._unsent = self._is_closing = self.transport = None
        self._fd = -1
        self._corked.clear()
        self._corked_bytes = 0
        self._is_deaf = True
        self.on_room = None
        if on_lost is not None:
            on_lost(exc)

    def eof_received(self):
        """Let the transport close itself: a WebSocket has no half-open state (7.1.1)."""
        return None

    def pause_writing(self) -> None:
        """Remember that the transport's buffer is over its high mark."""
        self.is_writing_paused = True

    def resume_writing(self) -> None:
        """Remember that it is not any more, and tell who waits for it."""
        self.is_writing_paused = False
        if self.on_room is not None:
            self.on_room()

    cdef int _end(self, int code, str reason) except -1:
        """Tell the owner, once, that nothing more will come."""
        if self.has_ended:
            return 0
        self.has_ended = True
        self.close_code = code
        self.close_reason = reason
        on_end, self._on_end = self._on_end, None
        self._on_text = self._on_binary = None
        self.partner = None
        if on_end is not None:
            on_end()
        return 0

    cdef int _fail(self, int code, str reason) except -1:
        """The peer broke the protocol: say so, hear nothing more (7.1.7)."""
        self._is_deaf = self.has_failed = True
        self._payload = None
        self._fragments = None
        self.close(code, reason)
        return self._end(code, reason)

    # ---- in

    def feed_data(self, data):
        """Take bytes as aiohttp's `set_parser` hands them over; never asks for the end."""
        self.data_received(data)
        return False, b""

    def feed_eof(self) -> None:
        """Do nothing: `connection_lost` tells the end."""

    def data_received(self, data) -> None:
        """Take what the transport read; each whole message is a call of the owner."""
        cdef Py_ssize_t size
        cdef const uint8_t *start
        # What this read causes at the partner leaves in one write, at its end: uvloop and asyncio
        # hand every write to the kernel at once, and that costs more than all the rest of a frame.
        cdef Socket partner = self.partner
        if not PyBytes_CheckExact(data):
            data = bytes(data)
        self.received_reads += 1
        size = PyBytes_GET_SIZE(data)
        start = <const uint8_t *>PyBytes_AS_STRING(data)
        cdef const uint8_t *end = start + size
        cdef const uint8_t *at = start
        if partner is not None:
            partner._corks += 1
        try:
            while at < end and not self._is_deaf:
                at += self._step(at, <size_t>(end - at))
        finally:
            if partner is not None:
                partner._uncork()

    cdef Py_ssize_t _step(self, const uint8_t *at, size_t have) except -1:
        """Take a head, or a payload as far as it is there; return how many bytes that were."""
        cdef size_t taken
        cdef int length
        if self._is_in_payload:
            return <Py_ssize_t>self._take_payload(at, have)
        if self._head_have == 0:
            length = fw_read_head(at, have, &self._head)
            if length > 0:
                taken = <size_t>length
                self._begin_payload()
                if self._is_deaf:
                    return <Py_ssize_t>taken
                return <Py_ssize_t>(taken + self._take_payload(at + taken, have - taken))
            if length < 0:
                self._fail(PROTOCOL_ERROR, "bad frame header")
                return <Py_ssize_t>have
        # A head in pieces: byte by byte, as it is seldom and at most 14 bytes.
        self._head_bytes[self._head_have] = at[0]
        self._head_have += 1
        length = fw_read_head(self._head_bytes, self._head_have, &self._head)
        if length < 0:
            self._fail(PROTOCOL_ERROR, "bad frame header")
        elif length > 0:
            self._head_have = 0
            self._begin_payload()
            if not self._is_deaf and self._left == 0:
                self._take_payload(at, 0)
        return 1

    cdef int _begin_payload(self) except -1:
        """Check a complete head against what may come now, and make room for its payload."""
        cdef int opcode = self._head.opcode
        cdef size_t so_far
        if bool(self._head.is_masked) == self.is_client:
            return self._fail(PROTOCOL_ERROR, "a server's frame is masked" if self.is_client
                              else "a client's frame is not masked")
        if opcode < FW_CLOSE:
            if (opcode == FW_CONTINUATION) != (self._fragments is not None):
                return self._fail(PROTOCOL_ERROR, "a continuation without a beginning"
                                  if opcode == FW_CONTINUATION else "a message inside a message")
            so_far = 0 if self._fragments is None else <size_t>len(self._fragments)
            if self._head.size > <uint64_t>self.message_bytes_max - so_far:
                return self._fail(TOO_LARGE, f"message over {self.message_bytes_max} bytes")
            self._payload = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>self._head.size)
        self._left = <size_t>self._head.size
        self._got = 0
        self._seen = 0
        self._is_in_payload = True
        return 0

    cdef size_t _take_payload(self, const uint8_t *at, size_t have) except? 0:
        """Unmask what is there; when the payload is whole, deliver it."""
        cdef size_t count = min(have, self._left)
        cdef uint8_t *to
        cdef const uint8_t *mask = _no_mask
        if self._head.is_masked:
            mask = self._head.mask
        if self._head.opcode < FW_CLOSE:
            to = <uint8_t *>PyBytes_AS_STRING(self._payload)
        else:
            to = self._control
        if count:
            self._seen |= fw_mask(at, count, mask, self._got, to + self._got)
            self._got += count
            self._left -= count
        if self._left == 0:
            self._is_in_payload = False
            if self._head.opcode < FW_CLOSE:
                self._data_frame()
            else:
                self._control_frame()
        return count

    cdef int _data_frame(self) except -1:
        """A data frame is whole: a message, or a piece of one (5.4)."""
        cdef bytes payload = self._payload
        cdef int opcode = self._head.opcode
        cdef uint8_t seen = self._seen
        self._payload = None
        if self._fragments is not None or not self._head.is_final:
            if self._fragments is None:
                self._fragments = bytearray()
                self._fragment_opcode = opcode
                self._fragment_seen = 0
            self._fragments += payload
            self._fragment_seen |= seen
            if not self._head.is_final:
                return 0
            payload = bytes(self._fragments)
            self._fragments = None
            opcode, seen = self._fragment_opcode, self._fragment_seen
        if opcode == FW_TEXT and seen >= 0x80 and not _is_utf8(payload):
            return self._fail(NOT_UTF8, "a text message is not UTF-8")
        if self.has_ended or self.is_close_sent:
            return 0
        self.received_messages += 1
        if opcode == FW_TEXT:
            self._on_text(payload)
        else:
            self._on_binary(payload)
        return 0

    cdef int _control_frame(self) except -1:
        cdef bytes payload = PyBytes_FromStringAndSize(<const char *>self._control,
                                                       <Py_ssize_t>self._got)
        if self._head.opcode == FW_PING:
            if self.unsent_bytes <= PONG_LIMIT:
                self._frame_out(FW_PONG, payload)
            else:
                self.pongs_withheld += 1
            return 0
        if self._head.opcode == FW_CLOSE:
            return self._close_frame(payload)
        return 0

    cdef int _close_frame(self, bytes payload) except -1:
        """The peer closes: answer with its code (5.5.1); a server then ends the connection."""
        cdef int code = NO_CODE
        cdef str reason = ""
        if len(payload) == 1:
            return self._fail(PROTOCOL_ERROR, "a close frame of one byte")
        if len(payload) >= 2:
            code = (<int>payload[0] << 8) | <int>payload[1]
            if not _is_utf8(payload[2:]):
                return self._fail(NOT_UTF8, "the reason of a close frame is not UTF-8")
            if not fw_is_close_code(<unsigned>code):
                return self._fail(PROTOCOL_ERROR, f"close code {code} is not allowed")
            reason = payload[2:].decode()
        self._is_deaf = True
        self._fragments = None
        if not self.is_close_sent:
            self._corks = 0
            self._uncork()
            self._frame_out(FW_CLOSE, payload[:2])
            self.is_close_sent = True
        if not self.is_client and self.transport is not None:
            self.transport.close()
        return self._end(code, reason)

    # ---- out

    @property
    def unsent_bytes(self) -> int:
        """Bytes that wait in this process for the socket."""
        return self.waiting_bytes()

    cpdef Py_ssize_t waiting_bytes(self) except -1:
        """Return `unsent_bytes`; asked once a frame, and a call is cheaper than a property."""
        cdef Py_ssize_t waiting = <Py_ssize_t>self._corked_bytes
        cdef Py_ssize_t unsent
        if not self._may_wait or self._unsent is None:
            return waiting
        unsent = self._unsent()
        # What went straight to the kernel is not with the transport: nothing more to be asked.
        self._may_wait = unsent != 0 or self._fd < 0
        return waiting + unsent

    cpdef bint send(self, message, second=None) except *:
        """Write one text message, or two in one write; False: it is closed, nothing is sent."""
        cdef bytes frames
        cdef Py_ssize_t size = 0, more = 0
        cdef const uint8_t *text = _text_of(message, &size)
        cdef const uint8_t *also = NULL
        cdef size_t whole
        cdef uint8_t *to
        if self._write is None or self.is_close_sent:
            return False
        whole = fw_head_bytes(<size_t>size, self.is_client) + <size_t>size
        if second is not None:
            also = _text_of(second, &more)
            whole += fw_head_bytes(<size_t>more, self.is_client) + <size_t>more
        frames = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>whole)
        to = <uint8_t *>PyBytes_AS_STRING(frames)
        to = self._frame(to, FW_TEXT, text, <size_t>size, NULL, 0, NULL, 0)
        self.sent_messages += 1
        if also != NULL:
            self._frame(to, FW_TEXT, also, <size_t>more, NULL, 0, NULL, 0)
            self.sent_messages += 1
        self._put(frames)
        return True

    cpdef bint send_between(self, bytes head, middle, bytes tail) except *:
        """Write one text message made of three parts; False: it is closed, nothing is sent."""
        cdef Py_ssize_t size = 0
        cdef const uint8_t *text = _text_of(middle, &size)
        cdef size_t before = <size_t>PyBytes_GET_SIZE(head)
        cdef size_t after = <size_t>PyBytes_GET_SIZE(tail)
        cdef size_t whole = before + <size_t>size + after
        cdef bytes frame
        if self._write is None or self.is_close_sent:
            return False
        frame = PyBytes_FromStringAndSize(
            NULL, <Py_ssize_t>(fw_head_bytes(whole, self.is_client) + whole))
        self._frame(<uint8_t *>PyBytes_AS_STRING(frame), FW_TEXT,
                    <const uint8_t *>PyBytes_AS_STRING(head), before, text, <size_t>size,
                    <const uint8_t *>PyBytes_AS_STRING(tail), after)
        self.sent_messages += 1
        self._put(frame)
        return True

    cdef uint8_t *_frame(self, uint8_t *to, int opcode, const uint8_t *first, size_t first_size,
                         const uint8_t *second, size_t second_size, const uint8_t *third,
                         size_t third_size) except NULL:
        """Write one final frame of up to three parts; return where the next one goes."""
        cdef uint8_t mask[4]
        cdef size_t size = first_size + second_size + third_size
        to += fw_write_head(to, opcode, size, self.is_client)
        if not self.is_client:
            memcpy(to, first, first_size)
            if second_size:
                memcpy(to + first_size, second, second_size)
            if third_size:
                memcpy(to + first_size + second_size, third, third_size)
            return to + size
        _next_mask(mask)
        memcpy(to, mask, 4)
        to += 4
        fw_mask(first, first_size, mask, 0, to)
        if second_size:
            fw_mask(second, second_size, mask, first_size, to + first_size)
        if third_size:
            fw_mask(third, third_size, mask, first_size + second_size,
                    to + first_size + second_size)
        return to + size

    cdef int _frame_out(self, int opcode, bytes payload) except -1:
        cdef bytes frame
        cdef size_t size = <size_t>PyBytes_GET_SIZE(payload)
        if self._write is None or self.is_close_sent:
            return 0
        frame = PyBytes_FromStringAndSize(
            NULL, <Py_ssize_t>(fw_head_bytes(size, self.is_client) + size))
        self._frame(<uint8_t *>PyBytes_AS_STRING(frame), opcode,
                    <const uint8_t *>PyBytes_AS_STRING(payload), size, NULL, 0, NULL, 0)
        return self._put(frame)

    cdef int _put(self, bytes frames) except -1:
        if self._corks:
            self._corked.append(frames)
            self._corked_bytes += <size_t>PyBytes_GET_SIZE(frames)
        else:
            self._hand_over(frames)
        return 0

    cdef int _hand_over(self, bytes frames) except -1:
        """Let the kernel have bytes at once; what it does not take waits with the transport.

        Straight to the socket while nothing waits before them: what a transport does to find out
        the same costs as much as a frame's own work. It still owns the socket and may have closed
        it, so it is asked for that each time.
        """
        cdef Py_ssize_t size = PyBytes_GET_SIZE(frames), sent
        if self._may_wait and self._fd >= 0:
            self.waiting_bytes()
        if self._fd >= 0 and not self._may_wait and not self._is_closing():
            sent = fw_send(self._fd, PyBytes_AS_STRING(frames), <size_t>size)
            if sent == size:
                return 0
            if sent > 0:
                frames = frames[sent:]
        self._may_wait = True
        self._write(frames)
        return 0

    cpdef object cork(self):
        """Let what is written from now on wait for `uncork`: it leaves in one write."""
        self._corks += 1

    cpdef object push(self):
        """Write what waits for `uncork` now."""
        cdef int corks = self._corks
        self._corks = 0
        self._uncork()
        self._corks = corks

    cpdef object uncork(self):
        """End a `cork`."""
        self._uncork()

    cdef int _uncork(self) except -1:
        if self._corks:
            self._corks -= 1
        if self._corks or not self._corked:
            return 0
        whole = self._corked[0] if len(self._corked) == 1 else b"".join(self._corked)
        self._corked.clear()
        self._corked_bytes = 0
        if self._write is not None:
            self._hand_over(whole)
        return 0

    def ping(self, bytes payload not None) -> None:
        """Send a ping of at most 125 bytes."""
        if len(payload) > FW_CONTROL_MAX:
            raise ValueError(f"a ping has {len(payload)} bytes: at most 125 are allowed")
        self._frame_out(FW_PING, payload)

    def close(self, int code, str reason not None) -> None:
        """Send a close frame, once; what the peer still sends is read until it answers."""
        if self.is_close_sent or self._write is None:
            return
        said = reason.encode()[:FW_CONTROL_MAX - 2].decode("utf-8", "ignore").encode()
        self._corks = 0
        self._uncork()
        self._frame_out(FW_CLOSE, code.to_bytes(2, "big") + said)
        self.is_close_sent = True

    def abort(self) -> None:
        """Cut the connection at once, without a closing handshake."""
        if self.transport is not None:
            self.transport.abort()


cdef bint _is_utf8(bytes text) except -1:
    try:
        PyUnicode_DecodeUTF8(PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text), NULL)
    except UnicodeDecodeError:
        return False
    return True
