"""The server: routes, admission, limits, drain.

`POST|GET /incoming-call` answers TwiML, `/media-stream` is the WebSocket a carrier connects to,
`/healthz` says the process lives, `/readyz` whether it takes calls, `/metrics` is for Prometheus,
`/calls` lists the calls and hangs them up. Where several processes serve one port, whichever is
asked answers for all of them (`roster.Group`).
"""

from __future__ import annotations

import asyncio
import dataclasses
import hmac
import logging
import signal
import time
from collections.abc import Awaitable, Iterable
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from aiohttp import web

from fastbridge import __version__, admission, console, event_loop, phone, preflight, prompt
from fastbridge._ring import PagePool
from fastbridge.bridge import Bridge, Worker
from fastbridge.config import Settings
from fastbridge.events import CarrierStarted
from fastbridge.journal import Journal
from fastbridge.legs.ai import AiDoor
from fastbridge.legs.carrier import CarrierLeg, upgrade
from fastbridge.listening import engine
from fastbridge.live import LiveOffice
from fastbridge.loop_lag import LoopLag
from fastbridge.metrics import Collector
from fastbridge.pacing import Heartbeat
from fastbridge.roster import Alone, Group, GroupSilentError, Roster
from fastbridge.silero import Scorer
from fastbridge.tool_loading import load_tools
from fastbridge.tools import ToolBox
from fastbridge.totals import Totals
from fastbridge.tracing import Traces
from fastbridge.wire.dialect import MakeDialect, check_message_size
from fastbridge.wire.twilio import TwilioStream

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

Answer = TypeVar("Answer")
LOG: Final = logging.getLogger("fastbridge.server")
WEBHOOK_BYTES_MAX: Final = 64 * 1024
FORM_TYPES: Final = frozenset({"application/x-www-form-urlencoded"})
DRAIN_STEP_S: Final = 0.1
# Requests a second about calls (/calls and below, /console/rights), twice as many at once; those
# without the right to ask have a share of their own, so that they cannot shut operators out.
OPERATOR_RATE: Final = 50
UNINVITED_RATE: Final = 10
# After the drain limit remaining calls are closed; this long their closing handshakes may take.
LAST_WORDS_S: Final = 3.0


class Front:
    """The front door of one worker; `group` is None where there is only one."""

    def __init__(
        self, settings: Settings, group: Group | None = None, tools: ToolBox | None = None
    ) -> None:
        scorer, reason = engine.choose(settings.detector)
        if settings.barge_in == "server":
            scorer, reason = None, "the AI alone: barge_in is server, the model owns the turn"
        if settings.detector == "auto":
            settings = dataclasses.replace(settings, detector="silero" if scorer else "server")
        LOG.info("local detector", extra={"fields": {"heard_by": reason}})
        self.settings = settings
        self.is_draining = False
        self.signatures = admission.SignatureCheck.of(settings)
        self.tokens = admission.TokenOffice.of(settings)
        instructions = prompt.build(
            language=settings.language,
            business_text=settings.instructions,
            greeting=settings.greeting,
        )
        self.worker = Worker(
            settings=settings,
            instructions=instructions,
            door=AiDoor(settings),
            pool=PagePool(bytes_max=settings.backlog_pool_max_bytes),
            heartbeat=Heartbeat(settings.phases),
            listening=_engine(scorer, settings),
            journal=_journal(settings),
            tools=load_tools(settings, tools),
            totals=Totals(settings.metrics_calls_max),
            traces=Traces.of(settings),
            admit=self._admit,
        )
        self.totals = self.worker.totals
        self.worker.heartbeat.sample = self.totals.look_at_one
        self.lag = LoopLag()
        self._collector = self._make_collector()
        self.roster = Roster(self.totals, group.number if group else 0)
        self.live = LiveOffice()
        self.operators = console.Rate(OPERATOR_RATE, 2 * OPERATOR_RATE)
        self.uninvited = console.Rate(UNINVITED_RATE, 2 * UNINVITED_RATE)
        self.console = console.Desk(
            settings,
            self.roster,
            self.totals,
            self.worker.journal,
            refusal=self._operator_refusal,
            stranger=self._stranger,
        )
        self.desk: phone.Desk | None = None
        if phone.is_wanted(settings):
            self.desk = phone.Desk(
                settings, self.tokens, is_operator=self._is_operator, busy=self._full
            )
        self.group: Group = group or Alone(self.roster, self.collect)
        self.app = self._app()

    def _app(self) -> web.Application:
        app = web.Application(client_max_size=WEBHOOK_BYTES_MAX)
        app.router.add_route("GET", "/incoming-call", self.incoming_call)
        app.router.add_route("POST", "/incoming-call", self.incoming_call)
        app.router.add_get("/media-stream", self.media_stream)
        app.router.add_get("/healthz", self.healthz)
        app.router.add_get("/readyz", self.readyz)
        app.router.add_get("/metrics", self.metrics)
        app.router.add_get("/calls", self.calls)
        app.router.add_delete("/calls/{call_sid}", self.hang_up)
        app.router.add_get("/calls/{call_sid}/live", self.live_call)
        app.router.add_get("/calls/{call_sid}/journal", self.console.journal)
        if self.settings.console != "off":
            self.console.add_routes(app)
        if self.desk is not None:
            self.desk.add_routes(app)
        app.on_startup.append(self._warm_up)
        app.on_cleanup.append(self._clean_up)
        return app

    async def _warm_up(self, _: web.Application) -> None:
        """Pay for the first connection before the first call."""
        self.worker.door.warm_up()
        self.lag.start()
        if self.worker.listening is not None and self.worker.listening.scorer is not None:
            engine.warm_up(self.worker.listening.scorer)

    async def _clean_up(self, _: web.Application) -> None:
        self.lag.stop()
        if self.worker.listening is not None:
            self.worker.listening.close()
        if self.worker.journal is not None:
            await asyncio.to_thread(self.worker.journal.close)
        if not await asyncio.to_thread(self.worker.tools.close):
            LOG.warning("a tool did not come back: it is left behind")
        if self.worker.traces is not None:
            await asyncio.to_thread(self.worker.traces.close)
        await self.worker.door.close()

    # ----------------------------------------------------------------- admission

    async def _webhook_refusal(self, request: web.Request) -> tuple[str, dict[str, str]]:
        """Say why a webhook is not from our carrier ("" when it is), and return its fields."""
        pairs: list[tuple[str, str]] = []
        if request.content_type in FORM_TYPES:
            form = await request.post()
            pairs = [(name, value) for name, value in form.items() if isinstance(value, str)]
        fields = {**request.query, **dict(pairs)}
        if self.signatures is None:
            return self._stranger(request), fields
        body = pairs if request.content_type in FORM_TYPES else await request.read()
        verdict = self.signatures.check_webhook(request.raw_path, body, request.headers)
        return "" if verdict.ok else verdict.reason, fields

    def _upgrade_refusal(self, request: web.Request) -> str:
        """Say why an upgrade is not from our carrier, "" when it is."""
        if self.signatures is None:
            return self._stranger(request)
        if self.desk is not None and "ticket" in request.query:
            return self.desk.upgrade_refusal(request)  # a browser cannot sign
        verdict = self.signatures.check_upgrade(request.raw_path, request.headers)
        return "" if verdict.ok else verdict.reason

    @staticmethod
    def _stranger(request: web.Request) -> str:
        """Without an Auth Token only programs on this machine are served."""
        return "" if admission.is_local_peer(request.remote, request.headers) else "not_local"

    def _refuse(self, request: web.Request, reason: str) -> web.Response:
        self.totals.rejected[reason] += 1
        hint = ""
        if reason == "not_local":
            hint = "set TWILIO_AUTH_TOKEN: without it only callers on this machine are served"
        LOG.warning(
            "request refused",
            extra={"fields": {"path": request.path, "reason": reason, "hint": hint}},
        )
        return web.Response(status=403, text=f"refused: {reason}\n")

    def _is_operator(self, request: web.Request) -> bool:
        """Say whether a request carries the console token; where none is set, none does."""
        token = self.settings.console_token
        given = request.headers.get("Authorization", "").encode("utf-8", "surrogateescape")
        return bool(token) and hmac.compare_digest(given, f"Bearer {token}".encode())

    def _operator_refusal(self, request: web.Request) -> web.Response | None:
        """Return what a look at the calls is answered that is uninvited or too often, else None."""
        refused = self._uninvited(request)
        rate = self.uninvited if refused else self.operators
        if rate.take(time.monotonic_ns()):
            return refused
        self.totals.rejected["operator_rate"] += 1
        return web.Response(status=429, text="too_often\n", headers={"Retry-After": "1"})

    def _uninvited(self, request: web.Request) -> web.Response | None:
        token = self.settings.console_token
        if token is None:
            stranger = self._stranger(request)
            return self._refuse(request, stranger) if stranger else None
        if self._is_operator(request):
            return None
        refused = self._refuse(request, "console_token")
        refused.set_status(401)
        refused.headers["WWW-Authenticate"] = "Bearer"
        return refused

    def _full(self) -> str:
        """Say why no further call is taken, "" when there is room."""
        if self.is_draining:
            return "draining"
        return "full" if self.group.calls_taken() >= self.settings.max_calls else ""

    def _admit(self, started: CarrierStarted) -> str:
        """Check the token a stream brings; bound to its call, once."""
        if self.tokens is None:
            return ""
        token = started.parameters.get("token", "")
        verdict = self.tokens.redeem(token, started.call_sid, time.time())
        return "" if verdict.ok else verdict.reason

    # ----------------------------------------------------------------- routes

    async def incoming_call(self, request: web.Request) -> web.Response:
        """Answer Twilio's question what to do with a call: connect it to our media stream."""
        try:
            refusal, fields = await self._webhook_refusal(request)
        except (ValueError, LookupError) as problem:  # a broken body, before anything is checked
            self.totals.rejected["bad_body"] += 1
            LOG.warning("webhook body unreadable", extra={"fields": {"problem": repr(problem)}})
            return web.Response(status=400, text="bad_body\n")
        if refusal:
            return self._refuse(request, refusal)
        account = self.settings.twilio_account_sid
        if account and fields.get("AccountSid") != account:
            return self._refuse(request, "wrong_account")
        if busy := self._full():
            self.totals.rejected[busy] += 1
            LOG.warning("call not taken", extra={"fields": {"reason": busy}})
            return _xml(admission.twiml(None, None, self.settings))
        if self.settings.log_personal == "on":
            names = (("call_sid", "CallSid"), ("from", "From"), ("to", "To"))
            told = {name: fields.get(field, "") for name, field in names}
            LOG.info("call offered", extra={"fields": told})
        token = None
        if self.tokens is not None:
            token = self.tokens.mint(fields.get("CallSid", ""), time.time())
        address = admission.stream_url(self.settings, request.host)
        return _xml(admission.twiml(address, token, self.settings))

    async def media_stream(self, request: web.Request) -> web.StreamResponse:
        """Carry one call; returns when it is over."""
        if refusal := self._upgrade_refusal(request):
            return self._refuse(request, refusal)
        if busy := self._full():
            self.totals.rejected[busy] += 1
            return web.Response(status=503, text=f"{busy}\n")
        self.group.take_place()  # before the first await: the next one finds it taken
        try:
            response = await upgrade(request)
            leg = CarrierLeg(request, self.settings.message_max_bytes)
            await Bridge(self.worker, leg).run()
        finally:
            self.group.leave_place()
        return response

    async def healthz(self, _: web.Request) -> web.Response:
        """Say that the process lives."""
        return web.Response(text="ok\n")

    async def readyz(self, _: web.Request) -> web.Response:
        """Say whether new calls are taken."""
        busy = self._full()
        return web.Response(status=503 if busy else 200, text=f"{busy or 'ready'}\n")

    def collect(self) -> Iterable[Metric]:
        """Return the metrics of this process alone."""
        self._collector.is_draining = self.is_draining
        return chain(self._collector.collect(), self.live.families())

    def _make_collector(self) -> Collector:
        worker = self.worker
        return Collector(
            self.totals,
            worker.heartbeat,
            __version__,
            settings=self.settings,
            lag=self.lag,
            pool=worker.pool,
            ears=None if worker.listening is None else worker.listening.counts,
            journal=worker.journal,
            spans=None if worker.traces is None else worker.traces.counts,
        )

    async def metrics(self, _: web.Request) -> web.Response:
        """Answer a Prometheus scrape, for all processes behind this port."""
        from prometheus_client import CollectorRegistry, generate_latest
        from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

        found = await self._ask_group(self.group.families())
        if isinstance(found, web.Response):
            return found
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Gathered(found))
        return web.Response(
            body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4}
        )

    async def calls(self, request: web.Request) -> web.Response:
        """List the calls of all processes; `silent` are workers that did not answer in time."""
        if refusal := self._operator_refusal(request):
            return refusal
        listed = await self._ask_group(self.group.calls())
        if isinstance(listed, web.Response):
            return listed
        return self._json({"calls": listed.calls, "silent": listed.silent})

    async def hang_up(self, request: web.Request) -> web.Response:
        """End a call by its id now: 404 where nobody has it, 503 where not everybody answered."""
        if refusal := self._operator_refusal(request):
            return refusal
        call_sid = request.match_info["call_sid"]
        hung_up = await self._ask_group(self.group.hang_up(call_sid))
        if isinstance(hung_up, web.Response):
            return hung_up
        status = 200 if hung_up.found else 503 if hung_up.silent else 404
        return self._json({"hung_up": hung_up.found, "silent": hung_up.silent}, status)

    async def live_call(self, request: web.Request) -> web.StreamResponse:
        """Send the live feed of one call of this process, to its own phone or to an operator.

        404 closes the connection: where several workers share the port, ask again, and the kernel
        may choose the one that has the call.
        """
        call_sid = request.match_info["call_sid"]
        is_own = self.desk is not None and self.desk.may_view(request, call_sid)
        if not is_own and (refusal := self._operator_refusal(request)):
            return refusal
        bridge = self.roster.find(call_sid)
        if bridge is None:
            return web.Response(status=404, text="no such call\n", headers={"Connection": "close"})
        return await self.live.serve(request, bridge, wants_words=is_own)

    async def _ask_group(self, question: Awaitable[Answer]) -> Answer | web.Response:
        """Return the group's answer, or 503 when nobody answers for it: never half the truth."""
        try:
            return await question
        except GroupSilentError as problem:
            self.totals.rejected["group_silent"] += 1
            LOG.warning("nobody answers for all", extra={"fields": {"problem": str(problem)}})
            return web.Response(status=503, text="the supervisor does not answer\n")

    def _json(self, body: dict[str, Any], status: int = 200) -> web.Response:
        body["answered_by"] = self.group.number
        return web.json_response(body, status=status)

    # ----------------------------------------------------------------- drain

    async def drain(self) -> None:
        """Take no new calls; let running ones finish within `drain_s`, then close them."""
        self.is_draining = True
        deadline_s = time.monotonic() + self.settings.drain_s
        LOG.info("draining", extra={"fields": {"calls": len(self.totals.live)}})
        await self._wait_for_calls(deadline_s)
        cut = [one for one in self.totals.live if isinstance(one, Bridge)]
        for bridge in cut:
            bridge.stop("drained")
        deadline_s = time.monotonic() + LAST_WORDS_S
        await self._wait_for_calls(deadline_s)
        LOG.info("drained", extra={"fields": {"calls_cut": len(cut)}})

    async def _wait_for_calls(self, deadline_s: float) -> None:
        """Wait until no call is left, at most until a time; looks ten times a second."""
        while self.totals.live and time.monotonic() < deadline_s:  # noqa: ASYNC110  seldom, simple
            await asyncio.sleep(DRAIN_STEP_S)


def _engine(scorer: Scorer | None, settings: Settings) -> engine.Listening | None:
    """Return the detector's engine, None when there is no network to run."""
    if scorer is None:
        return None
    return engine.Listening(
        scorer,
        energy_floor=settings.energy_floor,
        echo_calls_max=settings.echo_calls_max,
        lead_ms=settings.lead_ms,
    )


def _journal(settings: Settings) -> Journal | None:
    """Return what writes journals, None when no folder for them is set.

    Raises:
        OSError: the folder cannot be made.
    """
    if settings.journal_dir is None:
        return None
    Path(settings.journal_dir).mkdir(parents=True, exist_ok=True)
    return Journal()


def _xml(text: str) -> web.Response:
    return web.Response(text=text, content_type="text/xml")


class _Gathered:
    """Metric families that are there already, as a registry wants them."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        """Return them."""
        return self._families


class Listener:
    """A front that listens; `port` tells where."""

    def __init__(self, front: Front, runner: web.AppRunner, site: web.TCPSite, port: int) -> None:
        self.front = front
        self.port = port
        self._runner = runner
        self._site = site

    @classmethod
    async def start(
        cls,
        settings: Settings,
        group: Group | None = None,
        tools: ToolBox | None = None,
        dialect: MakeDialect = TwilioStream,
    ) -> Listener:
        """Listen on the settings' host and port (0: any free one); shared with a `group`.

        Args:
            settings: what is allowed and where.
            group: the other workers behind the port, None when there are none.
            tools: functions the AI may call, instead of those the settings name.
            dialect: another carrier's words, instead of Twilio's, on `/media-stream`.

        Raises:
            ConfigError: the setting `tools` names nothing that can be called, or the dialect does
                not take messages of `message_ms`.
            OSError: the port is taken.
        """
        check_message_size(dialect, settings.message_ms)
        front = Front(settings, group, tools)
        front.worker.dialect = dialect
        runner = web.AppRunner(
            front.app, handle_signals=False, access_log=None, shutdown_timeout=1.0
        )
        await runner.setup()
        site = web.TCPSite(runner, settings.host, settings.port, reuse_port=bool(group) or None)
        try:
            await site.start()
        except OSError:
            await runner.cleanup()
            raise
        port = runner.addresses[0][1]
        LOG.info("listening", extra={"fields": {"host": settings.host, "port": port}})
        if group is None:
            preflight.warn(settings)
        return cls(front, runner, site, port)

    async def stop_listening(self) -> None:
        """Accept no further connection; those that are open go on."""
        await self._site.stop()

    async def close(self) -> None:
        """Stop listening and release everything."""
        await self._runner.cleanup()


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then drain; a second signal cuts the drain short."""
    # Before the first call can come: a signal must never find nobody listening.
    signals: asyncio.Queue[int] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, signals.put_nowait, number)
    listener = await Listener.start(settings)
    event_loop.leave_what_is_loaded()
    try:
        await signals.get()
        drain = asyncio.create_task(listener.front.drain())
        again = asyncio.create_task(signals.get())
        await asyncio.wait({drain, again}, return_when=asyncio.FIRST_COMPLETED)
        for task in (drain, again):
            task.cancel()
        await asyncio.gather(drain, again, return_exceptions=True)
    finally:
        await listener.close()
