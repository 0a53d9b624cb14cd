"""The live feed: what a page shows of a call while it runs, sampled beside the audio path.

One `Feed` for each call that is looked at, and only while it is: a task of its own takes a sample
of the ledger 20 times a second (`sample`, which changes nothing in the call), and the bridge tells
it the decisions as they are performed. Each viewer has a bounded queue; what a slow one cannot take
is dropped, oldest first, and counted. Nothing of it waits, and nothing of it is in the audio path.

A viewer reads server-sent events (`serve`): each `data:` line is a JSON list of messages, each an
object with one key. Times are milliseconds since the call began:

    {"call": {call_sid, lead_ms, window_frames, mode}}    once, first
    {"s": [t, waiting_ms, window_frames, ahead_ms, heard_ms, speaking, audible, held, level]}
    {"b": {n, audible, onset, trigger, silent, confirmed, decided, told, outcome, ...}}  a barge-in;
         onset_at and confirmed_at are places in the caller's audio (ms), which no network bends
    {"w": [t, who, item, text, whole]}      words, if the AI gives any: who is "ai" or "caller"
    {"d": dropped}    messages this viewer was too slow for, so far
    {"end": reason}   last
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import msgspec
from aiohttp import web

from fastbridge.bridge import Bridge
from fastbridge.events import BargeInConfirmed, BargeInDecided, BargeInHeld, BargeInTold, Command
from fastbridge.metrics import family_of
from fastbridge.mulaw import BYTES_PER_MS, NS_PER_MS, ms_of_bytes
from fastbridge.wire.realtime import read_words

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

LOG: Final = logging.getLogger("fastbridge.live")
SAMPLE_NS: Final = 50 * NS_PER_MS
QUEUE_MESSAGES_MAX: Final = 128  # of one viewer: six seconds of samples
RECENT_MAX: Final = 32  # barge-ins a viewer that comes later is told
VIEWERS_MAX: Final = 32  # of one process
VIEWERS_OF_CALL_MAX: Final = 8
WORDS_CHARS_MAX: Final = 2_000  # of one message
WRITE_SECONDS_MAX: Final = 10.0
AUDIBLE: Final = 6  # its place in a sample
_encode = msgspec.json.Encoder().encode

Message = dict[str, Any]
Told: TypeAlias = BargeInDecided | BargeInHeld | BargeInTold | BargeInConfirmed
TOLD: Final = (BargeInDecided, BargeInHeld, BargeInTold, BargeInConfirmed)


def sample(bridge: Bridge, now_ns: int) -> list[float | int]:
    """Return the call as it stands now, in milliseconds; looks only, changes nothing."""
    call, playout = bridge.call, bridge.call.playout
    queued, sent, heard = playout.look(now_ns)
    is_unheard = queued > heard
    return [
        _ms(now_ns - bridge.began_ns),
        max(queued - sent, 0) // BYTES_PER_MS,
        bridge.ring.window_frames_filled,
        (sent - heard) // BYTES_PER_MS,
        ms_of_bytes(heard),
        int(call.is_ai_generating or is_unheard),
        int(call.is_ai_audible(now_ns)),
        int(playout.is_held),
        call.caller_level,
    ]


def _ms(span_ns: int) -> float:
    return round(span_ns / NS_PER_MS, 1)


class Viewer:
    """One who looks: a bounded queue, and how much of it was dropped."""

    def __init__(self, wants_words: bool) -> None:
        self.wants_words = wants_words
        self.dropped = 0
        self.is_over = False
        self._queue: deque[Message] = deque()
        self._filled = asyncio.Event()

    def put(self, message: Message) -> int:
        """Queue a message; return how many were dropped for it (0 or 1)."""
        is_full = len(self._queue) >= QUEUE_MESSAGES_MAX
        if is_full:
            self._queue.popleft()
            self.dropped += 1
        self._queue.append(message)
        self._filled.set()
        return int(is_full)

    def end(self, reason: str) -> None:
        """Queue the last message."""
        self.put({"end": reason})
        self.is_over = True

    async def take(self) -> list[Message]:
        """Wait until there is something, and return all of it."""
        await self._filled.wait()
        self._filled.clear()
        messages = list(self._queue)
        self._queue.clear()
        return messages


class Feed:
    """The live feed of one call: samples while somebody looks, decisions as they are performed."""

    def __init__(self, bridge: Bridge, office: LiveOffice) -> None:
        self.bridge = bridge
        self.viewers: list[Viewer] = []
        self._office = office
        self._recent: dict[int, Message] = {}
        # In the latest sample: what is performed behind a `clear` cannot ask any more.
        self._was_audible = False
        self._task = asyncio.create_task(self._run())
        bridge.looked_at_by = self

    def join(self, viewer: Viewer) -> None:
        """Take a viewer in; it is told what the call is and its latest barge-ins."""
        settings, call = self.bridge.worker.settings, self.bridge.call
        facts = {
            "call_sid": call.call_sid,
            "lead_ms": settings.lead_ms,
            "window_frames": settings.window_frames,
            "mode": settings.barge_in,
        }
        viewer.put({"call": facts})
        for known in self._recent.values():
            viewer.put({"b": known})
        self.viewers.append(viewer)

    def leave(self, viewer: Viewer) -> None:
        """Forget a viewer; the last one ends the feed."""
        if viewer in self.viewers:
            self.viewers.remove(viewer)
        if not self.viewers:
            self.close()

    def close(self) -> None:
        """Look at the call no more."""
        self._task.cancel()
        if self.bridge.looked_at_by is self:
            self.bridge.looked_at_by = None
        self._office.forget(self)

    async def _run(self) -> None:
        """Sample on an absolute grid until the call is over; a late sample is not made up for."""
        due_ns = time.monotonic_ns()
        live = self.bridge.worker.totals.live
        while self.bridge in live:
            now_ns = time.monotonic_ns()
            taken = sample(self.bridge, now_ns)
            self._was_audible = bool(taken[AUDIBLE])
            self._tell({"s": taken})
            self._office.samples += 1
            due_ns += SAMPLE_NS * ((now_ns - due_ns) // SAMPLE_NS + 1)
            await asyncio.sleep((due_ns - now_ns) / 1e9)
        for viewer in self.viewers:
            viewer.end(self.bridge.call.end_reason or "unknown")
        self.close()

    def _tell(self, message: Message) -> None:
        for viewer in self.viewers:
            self._office.dropped += viewer.put(message)

    # ----------------------------------------------------------------- told by the bridge

    def performed(self, command: Command, now_ns: int) -> None:
        """Take a command as it is performed; only what barge-ins leave is told."""
        if isinstance(command, TOLD):
            try:
                self._barge_in(command)
            except Exception:  # a picture must not end a call
                self._office.faults += 1
                LOG.exception("the live feed could not tell a barge-in", extra={"at": now_ns})

    def _barge_in(self, command: Told) -> None:
        known = self._recent.get(command.candidate)
        if known is None:
            known = {"n": command.candidate, "audible": self._was_audible}
            self._recent[command.candidate] = known
        if isinstance(command, BargeInTold):
            known |= {"heard_ms": command.heard_ms, "told": self._at(command.told_ns)}
            self._tell({"b": dict(known)})
            return
        known["trigger"] = self._at(command.trigger_ns)
        if isinstance(command, BargeInHeld):
            known |= {"onset": self._at(command.onset_ns), "silent": self._at(command.held_ns)}
        elif isinstance(command, BargeInConfirmed):
            known |= {
                "audible": command.was_audible,
                "confirmed": self._at(command.confirmed_ns),
                "onset_at": command.onset_ms,
                "confirmed_at": command.confirmed_ms,
            }
        else:
            known |= self._decided(command)
        while len(self._recent) > RECENT_MAX:
            del self._recent[next(iter(self._recent))]
        self._tell({"b": dict(known)})

    def _decided(self, command: BargeInDecided) -> Message:
        found = {
            "onset": self._at(command.onset_ns),
            "decided": self._at(command.decided_ns),
            "outcome": command.outcome,
            "reason": command.reason,
            "label": command.label,
            "source": command.source,
            "speech_ms": command.speech_ms,
            "flushed_ms": command.flushed_bytes // BYTES_PER_MS,
            "rewound_ms": command.rewound_bytes // BYTES_PER_MS,
        }
        if command.told_ns or command.outcome != "committed":
            found["heard_ms"] = command.heard_ms  # else it follows, when the AI is told
        for name in ("silent", "confirmed"):
            at_ns = getattr(command, f"{name}_ns")
            if at_ns:
                found[name] = self._at(at_ns)
        return found

    def _at(self, at_ns: int) -> float:
        return _ms(at_ns - self.bridge.began_ns)

    def ai_said(self, data: bytes, now_ns: int) -> None:
        """Take a message of the AI that is no audio: words go to those who may read them."""
        if not any(viewer.wants_words for viewer in self.viewers):
            return
        words = read_words(data)
        if words is None:
            return
        text = words.text[:WORDS_CHARS_MAX]
        message = {"w": [self._at(now_ns), words.who, words.item_id, text, int(words.is_whole)]}
        for viewer in self.viewers:
            if viewer.wants_words:
                self._office.dropped += viewer.put(message)


class LiveOffice:
    """All live feeds of a process, their limits and their counts."""

    def __init__(self) -> None:
        self._feeds: dict[int, Feed] = {}
        self.viewers = 0
        self.refused = 0
        self.samples = 0
        self.dropped = 0
        self.faults = 0

    @property
    def feeds(self) -> int:
        """Return how many calls are looked at."""
        return len(self._feeds)

    def forget(self, feed: Feed) -> None:
        """Drop a feed that is over."""
        self._feeds.pop(id(feed.bridge), None)

    def _open(self, bridge: Bridge) -> Feed | None:
        """Return the feed of a call, made if need be; None when there are viewers enough."""
        feed = self._feeds.get(id(bridge))
        of_call = len(feed.viewers) if feed else 0
        if self.viewers >= VIEWERS_MAX or of_call >= VIEWERS_OF_CALL_MAX:
            self.refused += 1
            return None
        if feed is None:
            feed = self._feeds[id(bridge)] = Feed(bridge, self)
        return feed

    async def serve(
        self, request: web.Request, bridge: Bridge, *, wants_words: bool
    ) -> web.StreamResponse:
        """Send the live feed of a call as server-sent events until it, or the viewer, is gone."""
        feed = self._open(bridge)
        if feed is None:
            return web.Response(status=503, text="viewers_full\n", headers={"Retry-After": "5"})
        viewer = Viewer(wants_words)
        self.viewers += 1
        feed.join(viewer)
        try:
            return await self._write(request, viewer)
        finally:
            self.viewers -= 1
            feed.leave(viewer)

    async def _write(self, request: web.Request, viewer: Viewer) -> web.StreamResponse:
        headers = {"Content-Type": "text/event-stream", "Cache-Control": "no-store"}
        response = web.StreamResponse(headers={**headers, "X-Accel-Buffering": "no"})
        told = 0
        # A viewer that left, or takes nothing, is no event: it looks again if it wants.
        with contextlib.suppress(ConnectionError, TimeoutError):
            await response.prepare(request)
            while True:
                messages = await viewer.take()
                if viewer.dropped != told:
                    told = viewer.dropped
                    messages.insert(0, {"d": told})
                async with asyncio.timeout(WRITE_SECONDS_MAX):
                    await response.write(b"data: " + _encode(messages) + b"\n\n")
                if viewer.is_over:
                    break
        return response

    def families(self) -> Iterable[Metric]:
        """Return the counts for Prometheus."""
        values = {
            "live_viewers": self.viewers,
            "live_viewers_refused_total": self.refused,
            "live_samples_total": self.samples,
            "live_messages_dropped_total": self.dropped,
            "live_faults_total": self.faults,
        }
        return [family_of(name, [((), value)]) for name, value in values.items()]


__all__ = ["Feed", "LiveOffice", "Viewer", "sample"]
