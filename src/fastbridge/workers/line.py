"""The line between the supervisor and one worker: JSON messages, each with its length in front.

Four bytes of length (big-endian), then that many bytes of one JSON object, in both directions:

    {"tell": what, "body": ...}            nothing is expected back
    {"ask": what, "id": n, "body": ...}    answered by {"answer": n, "body": ...}
                                           or          {"answer": n, "problem": text}

A message over `MESSAGE_BYTES_MAX` or one that is no such object ends the line. While more than
`UNSENT_BYTES_MAX` wait for a peer that does not read, and beyond `ASKS_MAX` questions without an
answer, asking fails at once; nobody ever waits longer than the limit given.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec

LOG: Final = logging.getLogger("fastbridge.workers")
LENGTH_BYTES: Final = 4
MESSAGE_BYTES_MAX: Final = 4 * 1024**2
UNSENT_BYTES_MAX: Final = 8 * 1024**2
ASKS_MAX: Final = 64
LAST_BYTES_S: Final = 1.0

Told = Callable[[str, Any], None]
Asked = Callable[[str, Any], Awaitable[Any]]


class LineError(ConnectionError):
    """The other end did not answer: gone, silent, flooded, or it says why."""


class Line:
    """One end of the line."""

    def __init__(self, writer: asyncio.StreamWriter, told: Told, asked: Asked) -> None:
        self.gone = asyncio.Event()
        self._writer = writer
        self._told = told
        self._asked = asked
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._answering: set[asyncio.Task[None]] = set()
        self._number = 0
        self._reading: asyncio.Task[None] | None = None

    @classmethod
    async def over(cls, sock: socket.socket, told: Told, asked: Asked) -> Line:
        """Return a line over one end of a socket pair; `told` and `asked` get what comes."""
        reader, writer = await asyncio.open_unix_connection(sock=sock)
        line = cls(writer, told, asked)
        line._reading = asyncio.create_task(line._read(reader))
        return line

    def tell(self, what: str, body: Any = None) -> bool:
        """Send without waiting; False when the line is gone or flooded, and nothing was sent."""
        return self._send({"tell": what, "body": body})

    async def ask(self, what: str, body: Any = None, *, limit_s: float) -> Any:
        """Return the answer to a question.

        Raises:
            LineError: none came within `limit_s` seconds, or the other end could not give one.
        """
        if len(self._waiting) >= ASKS_MAX:
            raise LineError(f"{ASKS_MAX} questions wait for an answer already")
        self._number += 1
        number = self._number
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        try:
            if not self._send({"ask": what, "id": number, "body": body}):
                raise LineError("the line is gone or flooded")
            async with asyncio.timeout(limit_s):
                return await answer
        except TimeoutError as silence:
            raise LineError(f"no answer within {limit_s:g} s") from silence
        finally:
            del self._waiting[number]

    def _send(self, message: dict[str, Any]) -> bool:
        transport = self._writer.transport
        if self.gone.is_set() or transport.is_closing():
            return False
        if transport.get_write_buffer_size() > UNSENT_BYTES_MAX:
            return False
        data = msgspec.json.encode(message)
        if len(data) > MESSAGE_BYTES_MAX:
            LOG.error("message too long for the line", extra={"fields": {"bytes": len(data)}})
            return False
        self._writer.write(len(data).to_bytes(LENGTH_BYTES, "big") + data)
        return True

    async def _read(self, reader: asyncio.StreamReader) -> None:
        """Read until the other end is gone or breaks the rules; then nobody waits any more."""
        try:
            while True:
                size = _checked(int.from_bytes(await reader.readexactly(LENGTH_BYTES), "big"))
                self._take(msgspec.json.decode(await reader.readexactly(size)))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the other process ended: `gone` says so
        except (ValueError, KeyError, TypeError):
            LOG.exception("line broken")
        finally:
            self.gone.set()
            self._writer.close()
            for answer in self._waiting.values():
                if not answer.done():
                    answer.set_exception(LineError("the other process is gone"))

    def _take(self, message: dict[str, Any]) -> None:
        if "answer" in message:
            answer = self._waiting.get(message["answer"])
            if answer is None or answer.done():
                return  # it came after its limit
            if "problem" in message:
                answer.set_exception(LineError(str(message["problem"])))
            else:
                answer.set_result(message["body"])
        elif "ask" in message:
            if len(self._answering) >= ASKS_MAX:
                self._send({"answer": message["id"], "problem": "too many questions"})
                return
            task = asyncio.create_task(self._answer(message))
            self._answering.add(task)
            task.add_done_callback(self._answering.discard)
        else:
            self._told(message["tell"], message["body"])

    async def _answer(self, message: dict[str, Any]) -> None:
        try:
            body = await self._asked(message["ask"], message["body"])
        except Exception as problem:
            # The asker must not wait for nothing, and a bug here must not end the line.
            LOG.exception("question not answered", extra={"fields": {"what": message["ask"]}})
            self._send({"answer": message["id"], "problem": repr(problem)})
        else:
            if not self._send({"answer": message["id"], "body": body}):
                self._send({"answer": message["id"], "problem": "the answer cannot be sent"})

    async def close(self) -> None:
        """Send what is unsent, at most for a second, and end the line."""
        with contextlib.suppress(ConnectionError, TimeoutError):
            async with asyncio.timeout(LAST_BYTES_S):
                if not self.gone.is_set():
                    self._writer.write_eof()
                    await self.gone.wait()
        self._writer.close()
        for task in (*self._answering, *filter(None, [self._reading])):
            task.cancel()
            await asyncio.wait([task])


def _checked(size: int) -> int:
    if size > MESSAGE_BYTES_MAX:
        raise ValueError(f"a message of {size} bytes; {MESSAGE_BYTES_MAX} are allowed")
    return size
