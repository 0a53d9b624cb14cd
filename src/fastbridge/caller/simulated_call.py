"""One simulated call in real time: webhook, WebSocket, microphone, ear, and the way between.

Two tasks (reader, writer); everything timed is an `Alarm` on an absolute monotonic deadline.
The ear plays what arrives half a round trip after it was received here; marks and the caller's
audio take the other half back, in one order. Every time in a record is when something fell due,
not when this program got to it: on a busy machine what is late leaves at once, and the delay
behind it makes up for as much of that as it is long.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from operator import attrgetter
from random import Random
from typing import Any, Final

import aiohttp
import msgspec

from fastbridge.caller.delay_line import Alarm, DelayLine
from fastbridge.caller.ear_watch import EarWatch
from fastbridge.caller.measures import barge_ins_of
from fastbridge.caller.microphone import Microphone
from fastbridge.caller.plan import CallPlan
from fastbridge.caller.record import MOMENTS_MAX, CallRecord
from fastbridge.caller.timeline import Moment
from fastbridge.caller.webhook import CallRefused, ask_webhook, signed_headers
from fastbridge.mulaw import FRAME_MS, FRAME_NS, SILENCE_FRAME
from fastbridge.worlds.carrier_playout import GAP_MS, CarrierPlayout
from fastbridge.worlds.carrier_record import CarrierWarning, talkspurts_of
from fastbridge.worlds.carrier_script import CarrierScript

CONNECT_SECONDS_MAX: Final = 10
CLOSE_SECONDS_MAX: Final = 2
MESSAGE_BYTES_MAX: Final = 1024 * 1024
UNREAD_FRAMES_MAX: Final = 500  # 10 s; Twilio discards caller audio then (31930)
OVERFLOW: Final = 31930


async def place_call(plan: CallPlan, session: aiohttp.ClientSession | None = None) -> CallRecord:
    """Place one call and return its record; faults of the other side are told in `failure`.

    Args:
        plan: what to do.
        session: shared by many calls; its connector must allow enough connections
            (`TCPConnector(limit=0)`). Without one, the call makes and closes its own.

    """
    if session is not None:
        return await SimulatedCall(plan, session).run()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as own:
        return await SimulatedCall(plan, own).run()


class SimulatedCall:
    """The state of one call; made for one `run`."""

    def __init__(self, plan: CallPlan, session: aiohttp.ClientSession) -> None:
        self._plan = plan
        self._session = session
        self.record = CallRecord(plan.call_sid, plan.stream_sid, plan.url)
        random = Random(plan.seed)
        way: dict[str, Any] = {
            "delay_ms": plan.rtt_ms / 2,
            "jitter_ms": plan.jitter_ms,
            "random": random,
            "on_error": self._break_off,
        }
        self._uplink = DelayLine[str | None](self._leave_for_bridge, **way)
        self._downlink = DelayLine[str | bytes | None](self._reach_carrier, **way)
        self._outgoing: asyncio.Queue[str | None] = asyncio.Queue()
        self._tick = Alarm(self._on_tick, self._break_off)
        self._wakeup = Alarm(self._on_wakeup, self._break_off)
        self._watch = EarWatch(self.record.ear, self._tell)
        self._encode = msgspec.json.Encoder().encode
        self._onsets = 0
        self._ticks = 0
        self._sound_ns = 0  # when either side was last heard
        self._is_over = False
        self._failure: asyncio.Future[None]
        self._script: CarrierScript
        self._playout: CarrierPlayout
        self._microphone: Microphone

    async def run(self) -> CallRecord:
        """Make the call; returns when it has ended and nothing of it is left."""
        record = self.record
        self._failure = asyncio.get_running_loop().create_future()
        record.begun_ns = time.monotonic_ns()
        try:
            await self._connect_and_talk()
        except (CallRefused, aiohttp.ClientError, OSError, TimeoutError) as error:
            record.failure = str(error) or type(error).__name__
            self._say("fault", f"call failed: {record.failure}")
        finally:
            for part in (self._tick, self._wakeup):
                part.cancel()
            self._uplink.close()
            self._downlink.close()
        record.ended_ns = record.ended_ns or time.monotonic_ns()
        record.moments.sort(key=attrgetter("at_ns"))
        record.barge_ins = barge_ins_of(record.ear, record.spoken)
        return record

    async def _connect_and_talk(self) -> None:
        plan, record = self._plan, self.record
        answer = await ask_webhook(self._session, plan)
        record.webhook_status = answer.status
        record.parameters = answer.parameters | plan.parameters
        if answer.status == 200:  # noqa: PLR2004  HTTP's OK
            self._say("line", f"webhook answered, {len(answer.parameters)} parameter(s)")
        self._script = self._make_script()
        async with self._socket() as socket:
            record.connected_ns = time.monotonic_ns()
            self._say("line", f"connected to {plan.url}")
            self._start()
            reader = asyncio.create_task(self._read(socket))
            writer = asyncio.create_task(self._write(socket))
            try:
                await self._until_over(reader, writer)
            finally:
                for task in (reader, writer):
                    task.cancel()
                await asyncio.gather(reader, writer, return_exceptions=True)
                record.close_code = record.close_code or socket.close_code

    def _make_script(self) -> CarrierScript:
        plan = self._plan
        try:
            return CarrierScript(
                call_sid=plan.call_sid,
                stream_sid=plan.stream_sid,
                account_sid=plan.account_sid,
                parameters=self.record.parameters,
            )
        except ValueError as error:
            raise CallRefused(f"TwiML that no carrier takes: {error}") from error

    @asynccontextmanager
    async def _socket(self) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        """Open the WebSocket, and close it whatever happens."""
        plan = self._plan
        async with asyncio.timeout(CONNECT_SECONDS_MAX):
            socket = await self._session.ws_connect(
                plan.url,
                headers=signed_headers(plan, plan.url, None),
                compress=0,
                max_msg_size=MESSAGE_BYTES_MAX,
                timeout=aiohttp.ClientWSTimeout(ws_close=CLOSE_SECONDS_MAX),
            )
        try:
            yield socket
        finally:
            await socket.close()

    def _start(self) -> None:
        """Begin the stream: its clock, the microphone, the ear."""
        record, plan = self.record, self._plan
        now_ns = time.monotonic_ns()
        self._send(self._script.connected(), now_ns)
        self._send(self._script.start(), now_ns)
        record.started_ns = self._sound_ns = now_ns
        self._playout = CarrierPlayout(self._script, record=record.ear)
        self._microphone = Microphone(plan.utterances, now_ns)
        record.spoken = self._microphone.spoken
        self._tick.set(now_ns + FRAME_NS)

    async def _until_over(self, reader: asyncio.Task[None], writer: asyncio.Task[None]) -> None:
        """Wait for the end: both tasks done in order, or the first fault."""
        waiting: set[asyncio.Future[None]] = {reader, writer, self._failure}
        while reader in waiting or writer in waiting:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for one in done:
                one.result()  # raises what went wrong
        self._failure.cancel()

    # -- the way to the bridge ---------------------------------------------------------------

    def _send(self, message: dict[str, Any], now_ns: int) -> None:
        self._uplink.put(self._encode(message).decode(), now_ns)

    def _leave_for_bridge(self, text: str | None, _: int) -> None:
        self._outgoing.put_nowait(text)

    async def _write(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        """Write what has arrived at the bridge's door; `None` closes the socket.

        When the bridge has closed it, the rest is thrown away until the news of that has reached
        the carrier (`_reach_carrier` puts `None`): the call ends there, not here.
        """
        while (text := await self._outgoing.get()) is not None:
            if not socket.closed:
                with suppress(aiohttp.ClientConnectionResetError, ConnectionError):
                    await socket.send_str(text)
        await socket.close()

    def _on_tick(self, now_ns: int) -> None:
        """Let 20 ms leave the mouth, look at the ear, and think about hanging up."""
        self._catch_up(now_ns)
        if self._is_over:
            return  # what was on its way was the bridge's close
        self._watch.look(talkspurts_of(self.record.ear.runs, GAP_MS), now_ns)
        if self._plan.on_tick is not None:
            self._plan.on_tick(now_ns)
        if why := self._why_hang_up(now_ns):
            self._hang_up(why, now_ns)
        else:
            self._tick.set(self._next_tick_ns)

    @property
    def _next_tick_ns(self) -> int:
        return self.record.started_ns + (self._ticks + 1) * FRAME_NS

    def _catch_up(self, now_ns: int) -> None:
        """Let mouth and carrier be as far as now, one tick after the other, however late."""
        record = self.record
        while (due_ns := self._next_tick_ns) <= now_ns and not self._is_over:
            late_ns = now_ns - due_ns
            record.tick_lateness_max_ns = max(record.tick_lateness_max_ns, late_ns)
            record.late_ticks += late_ns > FRAME_NS
            self._speak(due_ns)
            self._ticks += 1
        self._advance(now_ns)

    def _speak(self, due_ns: int) -> None:
        """Let one frame leave the mouth when it was due, however late this machine is.

        A caller's mouth and the carrier have clocks of their own: a sound has no hole, and no
        second onset, because the program that plays it stood still. What is late leaves at once.
        """
        record = self.record
        self._advance(due_ns)
        if self._is_over:
            return
        frame = self._microphone.frame(due_ns, talkspurts_of(record.ear.runs, GAP_MS))
        if frame is not None:
            record.mouth.append((due_ns, frame))
            self._sound_ns = due_ns
        self._tell_what_is_said(due_ns)
        if self._outgoing.qsize() >= UNREAD_FRAMES_MAX:
            self._drop(due_ns)
            return
        timestamp_ms = (due_ns - record.started_ns - FRAME_NS) // FRAME_NS * FRAME_MS
        self._send(self._script.media(frame or SILENCE_FRAME, timestamp_ms), due_ns)
        record.frames_sent += 1

    def _tell_what_is_said(self, now_ns: int) -> None:
        """Tell begins of utterances, and onsets to the watch at the ear."""
        for one in self.record.spoken[-1:]:
            if one.begun_ns == now_ns:
                self._say("caller", f"speaks {one.label!r}" if one.label else "speaks", now_ns)
                self._onsets = 0
            if len(one.onsets_ns) > self._onsets:
                self._onsets = len(one.onsets_ns)
                self._watch.onset(one.label, now_ns, is_audible=self._playout.is_audible)

    def _drop(self, now_ns: int) -> None:
        ear = self.record.ear
        if not self.record.frames_dropped:
            text = f"buffer overflow: {UNREAD_FRAMES_MAX} messages unread; caller audio is dropped"
            ear.warnings.append(CarrierWarning(now_ns, OVERFLOW, text))
            ear.warnings_total += 1
        self.record.frames_dropped += 1

    # -- the way from the bridge -------------------------------------------------------------

    async def _read(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        """Put everything that comes on its way to the carrier; the end too."""
        async for message in socket:
            if message.type in {aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY}:
                self._downlink.put(message.data, time.monotonic_ns())
            elif message.type is aiohttp.WSMsgType.ERROR:
                raise CallRefused(f"the bridge broke the WebSocket protocol: {message.data}")
        self.record.close_code = socket.close_code
        self._downlink.put(None, time.monotonic_ns())

    def _reach_carrier(self, text: str | bytes | None, due_ns: int) -> None:
        """Hand a message to the carrier at the time it was due there; `None` is the end."""
        at_ns = max(due_ns, self._playout.now_ns)
        if text is None:
            if not self._is_over:
                self._closed_by_bridge(at_ns)
            self._outgoing.put_nowait(None)
        elif self._is_over:
            self.record.messages_after_end += 1
        else:
            self._play(at_ns)
            self._playout.receive(text, at_ns)
            self._answer(at_ns)
            self._set_wakeup()

    def _on_wakeup(self, now_ns: int) -> None:
        self._catch_up(now_ns)

    def _advance(self, to_ns: int) -> None:
        """Let the carrier be as far as `to_ns`: whatever fell due before, in its order and time."""
        self._downlink.pass_time(to_ns)
        if self._is_over:
            return
        self._play(to_ns)
        self._set_wakeup()

    def _set_wakeup(self) -> None:
        if (wakeup_ns := self._playout.next_wakeup_ns) is not None:
            self._wakeup.set(wakeup_ns)

    def _play(self, to_ns: int) -> None:
        """Let the ear hear up to `to_ns`; a mark goes back when it was played, not when we look."""
        playout = self._playout
        while (wakeup_ns := playout.next_wakeup_ns) is not None and wakeup_ns < to_ns:
            self._sound_ns = wakeup_ns
            playout.advance(wakeup_ns)
            self._answer(wakeup_ns)
        at_ns = max(to_ns, playout.now_ns)
        if playout.is_audible:
            self._sound_ns = at_ns
        playout.advance(at_ns)
        self._answer(at_ns)

    def _answer(self, at_ns: int) -> None:
        for message in self._playout.take_messages():
            self._send(message, at_ns)

    # -- the end -----------------------------------------------------------------------------

    def _why_hang_up(self, now_ns: int) -> str:
        plan, record = self._plan, self.record
        if now_ns - record.started_ns >= plan.seconds_max * 1e9:
            return f"time is up ({plan.seconds_max:g} s)"
        if plan.quiet_seconds is None or not self._microphone.has_said_all:
            return ""
        if now_ns - self._sound_ns < plan.quiet_seconds * 1e9 or self._playout.is_audible:
            return ""
        return f"everything is said, quiet for {plan.quiet_seconds:g} s"

    def _hang_up(self, why: str, now_ns: int) -> None:
        self._end(f"caller hangs up: {why}", now_ns)
        self._send(self._script.stop(), now_ns)
        self._uplink.put(None, now_ns)

    def _closed_by_bridge(self, now_ns: int) -> None:
        code = self.record.close_code
        self._end(f"the bridge closed the stream (code {code})", now_ns)
        if code not in {1000, 1001}:
            self.record.failure = f"the bridge closed the stream with code {code}"

    def _end(self, why: str, now_ns: int) -> None:
        self._is_over = True
        self._tick.cancel()
        self._wakeup.cancel()
        self._playout.hang_up(max(now_ns, self._playout.now_ns))
        self.record.ended_ns = now_ns
        self.record.ended_because = why
        self._watch.look(talkspurts_of(self.record.ear.runs, GAP_MS), now_ns + 10**9)
        self._say("line", why, now_ns)

    def _break_off(self, error: Exception) -> None:
        """Let a fault inside a timer end the call with its own text."""
        if not self._failure.done():
            self._failure.set_exception(error)

    # -- the timeline ------------------------------------------------------------------------

    def _say(self, who: str, text: str, at_ns: int | None = None) -> None:
        self._tell(Moment(time.monotonic_ns() if at_ns is None else at_ns, who, text))

    def _tell(self, moment: Moment) -> None:
        if len(self.record.moments) < MOMENTS_MAX:
            self.record.moments.append(moment)
        if self._plan.on_moment is not None:
            self._plan.on_moment(moment)
