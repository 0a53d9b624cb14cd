"""What a simulated call shall do: where to call, what to say and when, how far away to be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from secrets import token_hex

from fastbridge.caller.timeline import Moment
from fastbridge.worlds.carrier_script import checked_sid

UTTERANCES_MAX = 100
SECONDS_MAX = 3_600.0
RTT_MS_MAX = 10_000.0


@dataclass(frozen=True, slots=True)
class AtSecond:
    """Speak this many seconds after the stream's `start`."""

    seconds: float


@dataclass(frozen=True, slots=True)
class IntoTalkspurt:
    """Speak `seconds` after the `number`-th AI talkspurt (from 1) began at the ear.

    When the talkspurt is shorter than that, the caller speaks all the same: as a turn then, not
    as an interruption. So a conversation goes on whatever the lengths of its answers.
    """

    number: int
    seconds: float


@dataclass(frozen=True, slots=True)
class AfterTalkspurt:
    """Speak `seconds` after the `number`-th AI talkspurt (from 1) ended at the ear.

    A talkspurt that ran dry is known to be over only 500 ms later (a shorter silence is a gap
    in it); smaller values of `seconds` than 0.5 therefore wait for 0.5.
    """

    number: int
    seconds: float


@dataclass(frozen=True, slots=True)
class WhenTrue:
    """Speak once `is_true()` has been so for `seconds` at a stretch; asked at every tick of 20 ms.

    For who knows more than an ear does: a caller who waits for the whole of an answer cannot tell
    a pause in it from its end. Must not block.
    """

    is_true: Callable[[], bool]
    seconds: float = 0.0


Start = AtSecond | IntoTalkspurt | AfterTalkspurt | WhenTrue


@dataclass(frozen=True, slots=True)
class Utterance:
    """Something the caller says: 8 kHz mu-law, and when it begins.

    Utterances are spoken in the order of the plan; one whose time comes while another is being
    spoken begins right after it.
    """

    mulaw: bytes
    start: Start
    label: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallPlan:
    """One call.

    Args:
        url: the bridge's media WebSocket, `ws://` or `wss://`.
        utterances: what the caller says, in order.
        rtt_ms: carrier round trip; each direction is delayed by half of it.
        jitter_ms: each message is delayed by up to this much more, evenly drawn; order is kept.
        seed: of the jitter. The same seed draws the same delays.
        seconds_max: the caller hangs up at the latest this long after the stream began.
        quiet_seconds: the caller hangs up when everything is said and both sides have been
            silent for so long; `None` waits for `seconds_max`.
        auth_token: signs webhook and WebSocket upgrade as Twilio does; empty leaves them unsigned.
        public_url: what Twilio would have been told to call, as `https://host`; signatures are
            computed for it. Empty: the address of `url`.
        webhook_path: where TwiML is asked for; empty asks nowhere.
        parameters: of the stream (`<Parameter>`), beside those that the TwiML brings.
        call_sid, stream_sid, account_sid: made up when empty.
        on_moment: told of everything in the timeline as soon as it is known, some of it up to
            `timeline.LATE_MS` after it happened; must not block.
        on_tick: told the time (monotonic ns) every 20 ms of the call; must not block.

    Raises:
        ValueError: a value out of range, with field, value and what is allowed.

    """

    url: str
    utterances: tuple[Utterance, ...] = ()
    rtt_ms: float = 80.0
    jitter_ms: float = 10.0
    seed: int = 1
    seconds_max: float = 60.0
    quiet_seconds: float | None = 5.0
    auth_token: str = ""
    public_url: str = ""
    webhook_path: str = "/incoming-call"
    parameters: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    from_number: str = "+15550100001"
    to_number: str = "+15550100002"
    call_sid: str = ""
    stream_sid: str = ""
    account_sid: str = ""
    on_moment: Callable[[Moment], None] | None = None
    on_tick: Callable[[int], None] | None = None

    def __post_init__(self) -> None:
        if not self.url.startswith(("ws://", "wss://")):
            raise ValueError(f"url is {self.url!r}; it must begin with ws:// or wss://")
        if self.public_url and not self.public_url.startswith(("http://", "https://")):
            raise ValueError(f"public_url is {self.public_url!r}; it must begin with https://")
        _check_range("rtt_ms", self.rtt_ms, 0, RTT_MS_MAX)
        _check_range("jitter_ms", self.jitter_ms, 0, RTT_MS_MAX)
        _check_range("seconds_max", self.seconds_max, 0, SECONDS_MAX)
        _check_range("quiet_seconds", self.quiet_seconds or 0, 0, SECONDS_MAX)
        _check_range("utterances", len(self.utterances), 0, UTTERANCES_MAX)
        for name, prefix in (("call_sid", "CA"), ("stream_sid", "MZ"), ("account_sid", "AC")):
            if not getattr(self, name):
                object.__setattr__(self, name, prefix + token_hex(16))
            checked_sid(name, getattr(self, name), prefix)


def _check_range(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ValueError(f"{name} is {value}; {low} to {high} is allowed")
