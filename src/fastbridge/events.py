"""What can happen in a call and what must be done about it, as values without behaviour.

Events come in (`Call.handle`), commands go out (`Call.take_commands`). Caller and AI audio travel
by argument and return value instead, so that no object is made per frame.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

# --------------------------------------------------------------------------- from the carrier


@dataclass(frozen=True, slots=True)
class CarrierStarted:
    """The media stream began; audio may flow both ways."""

    stream_sid: str
    call_sid: str
    encoding: str = "audio/x-mulaw"
    sample_rate_hz: int = 8000
    channels: int = 1
    parameters: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MarkEchoed:
    """The carrier sent a mark back: the audio before it was played, or cleared."""

    name: str


@dataclass(frozen=True, slots=True)
class CallerFramesLost:
    """The carrier's clock went on without the caller's audio: `count` bytes never came."""

    count: int


@dataclass(frozen=True, slots=True)
class EchoCancelling:
    """This call has an echo canceller from now on, or has none any more."""

    is_on: bool


@dataclass(frozen=True, slots=True)
class CallerCleaned:
    """A caller frame without our echo: base64, bytes, mean level; it ended at `at_ms`."""

    at_ms: int
    payload: str
    count: int
    level: int


@dataclass(frozen=True, slots=True)
class DigitPressed:
    """The caller pressed a key (DTMF)."""

    digit: str


@dataclass(frozen=True, slots=True)
class CarrierStopped:
    """The carrier said that the stream is over, or its socket vanished (`reason` says which)."""

    reason: str


# --------------------------------------------------------------------------- from the AI


@dataclass(frozen=True, slots=True)
class SessionCreated:
    """The AI's session exists and waits for its configuration."""

    session_id: str


@dataclass(frozen=True, slots=True)
class SessionUpdated:
    """The AI granted a configuration; the formats are what it will really use."""

    input_format: str
    output_format: str


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    """The AI's detector hears speech. `audio_start_ms` counts appended audio, padding included."""

    audio_start_ms: int
    item_id: str


@dataclass(frozen=True, slots=True)
class SpeechStopped:
    """The AI's detector hears silence again. `audio_end_ms` counts appended audio."""

    audio_end_ms: int
    item_id: str


@dataclass(frozen=True, slots=True)
class TranscriptHeard:
    """The AI wrote down a sound of the caller; what the words were does not leave the wire.

    `verdict` is words, backchannel (nothing but words of listening), nothing (no words at all) or
    failed (nothing could be written down).
    """

    item_id: str
    verdict: str = "words"


@dataclass(frozen=True, slots=True)
class SpeechScore:
    """Our own detector's verdict on the caller's audio up to `at_ms` of audio received."""

    at_ms: int
    probability: float


@dataclass(frozen=True, slots=True)
class EchoMeasured:
    """The probe's answer: whether this call has an echo path, its delay and its loss."""

    has_echo: bool
    delay_ms: int = 0
    loss_db: float = 0.0


@dataclass(frozen=True, slots=True)
class EarsBehind:
    """Our own ears are late with their scores, or blind; or they are in time again."""

    is_behind: bool


@dataclass(frozen=True, slots=True)
class InputCommitted:
    """The caller's turn ended: its audio became a conversation item."""

    item_id: str


@dataclass(frozen=True, slots=True)
class ResponseCreated:
    """The AI began an answer. `turn` is what the request carried, None for one nobody asked for."""

    response_id: str
    turn: int | None


@dataclass(frozen=True, slots=True)
class ItemAdded:
    """A response got an item. `kind` is the AI's word: message, function_call, ..."""

    response_id: str
    item_id: str
    kind: str


@dataclass(frozen=True, slots=True)
class AudioEnded:
    """No more audio will come for this item."""

    response_id: str
    item_id: str


@dataclass(frozen=True, slots=True)
class ResponseEnded:
    """The answer is over: completed, cancelled, incomplete or failed; `reason` details it."""

    response_id: str
    status: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ItemTruncated:
    """The AI forgot what the caller did not hear."""

    item_id: str
    audio_end_ms: int


@dataclass(frozen=True, slots=True)
class AiErrored:
    """The AI refused something or reports trouble; the session usually lives on."""

    code: str
    message: str
    event_id: str = ""


@dataclass(frozen=True, slots=True)
class AiLost:
    """The AI's socket could not be opened (`refused`) or is gone."""

    reason: str
    refused: bool = False


@dataclass(frozen=True, slots=True)
class ToolCalled:
    """A response holds a function call, `arguments` as JSON; it may run when that is completed."""

    response_id: str
    call_id: str
    name: str
    arguments: str


# ------------------------------------------------------------------------ from the tools


@dataclass(frozen=True, slots=True)
class ToolAnswered:
    """A function call was run, or was not for a reason: `output` is for the AI in either case.

    `outcome` is done, end_call, unknown, busy, bad_arguments, timeout, failed or closed; with
    end_call, `end_reason` says in the AI's words why the call shall end.
    """

    call_id: str
    output: str
    outcome: str
    end_reason: str = ""


Event: TypeAlias = (
    CarrierStarted
    | MarkEchoed
    | CallerFramesLost
    | EchoCancelling
    | CallerCleaned
    | DigitPressed
    | CarrierStopped
    | SessionCreated
    | SessionUpdated
    | SpeechStarted
    | SpeechStopped
    | TranscriptHeard
    | SpeechScore
    | EchoMeasured
    | EarsBehind
    | InputCommitted
    | ResponseCreated
    | ItemAdded
    | AudioEnded
    | ResponseEnded
    | ItemTruncated
    | AiErrored
    | AiLost
    | ToolCalled
    | ToolAnswered
)

# --------------------------------------------------------------------------- commands


@dataclass(frozen=True, slots=True)
class ConnectAi:
    """Open the AI leg."""


@dataclass(frozen=True, slots=True)
class ConfigureAi:
    """Send the session's configuration."""


@dataclass(frozen=True, slots=True)
class AppendCallerAudio:
    """Append caller audio that was kept while the AI was not ready: base64 payloads, in order."""

    payloads: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RequestResponse:
    """Ask the AI to speak. `instructions` empty: answer the conversation as it stands."""

    turn: int
    instructions: str = ""


@dataclass(frozen=True, slots=True)
class CommitInput:
    """Make what the caller said so far a turn: the AI's own detector did not."""


@dataclass(frozen=True, slots=True)
class CancelResponse:
    """Stop the AI generating this response."""

    response_id: str


@dataclass(frozen=True, slots=True)
class TruncateItem:
    """Tell the AI how much of an item reached the ear."""

    item_id: str
    audio_end_ms: int


@dataclass(frozen=True, slots=True)
class DeleteItem:
    """Make the AI forget an item of which nothing was heard, or that was no speech."""

    item_id: str


@dataclass(frozen=True, slots=True)
class RunTool:
    """Run a function the AI has called; `ToolAnswered` must follow, whatever becomes of it."""

    call_id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class SubmitOutput:
    """Give the AI the output of one of its function calls. It does not answer by itself."""

    call_id: str
    output: str


@dataclass(frozen=True, slots=True)
class SendMark:
    """Ask the carrier to say when the audio before this mark has been played."""

    name: str


@dataclass(frozen=True, slots=True)
class ClearCarrier:
    """Empty the carrier's buffer, then send the fence mark that proves it.

    `edge`: a mark to be sent right before the clear; "": no mark is out that it could send back.
    """

    fence: str
    edge: str = ""


@dataclass(frozen=True, slots=True)
class CloseCarrier:
    """End the media stream; the carrier goes on with what follows `</Connect>`."""

    reason: str


@dataclass(frozen=True, slots=True)
class CloseAi:
    """Close the AI leg."""

    reason: str


# ------------------------------------------------------------- records: commands to remember


@dataclass(frozen=True, slots=True)
class Noted:
    """Something worth a log line: a static message, its level, and fields."""

    message: str
    level: str = "info"
    fields: tuple[tuple[str, object], ...] = ()


@dataclass(frozen=True, slots=True)
class BargeInHeld:
    """The AI fell silent for a candidate that is yet to be judged; `candidate` is its number."""

    onset_ns: int
    trigger_ns: int
    held_ns: int
    candidate: int = 0


@dataclass(frozen=True, slots=True)
class BargeInDecided:
    """How one candidate ended. Times are monotonic nanoseconds; `onset_ns` is estimated.

    `outcome` is committed, resumed, withdrawn or ignored; `reason` is one of `REASONS`. `source`
    says who heard it first: local or server.

    Evidence: `speech_ms` (how long the sound lasted, or has lasted so far), `level` (its loudest
    frame, mean 14-bit amplitude), `probability` (the highest of our own detector, 0 to 1; 0 when
    only the AI heard it), `is_late` (our own ears were late, or blind, while it was judged), and
    what the echo probe knew: `has_echo`, `echo_delay_ms`, `echo_loss_db`. Stages: `onset_ns`,
    `trigger_ns` (the sound was reported), `silent_ns` (nothing leaves the ring from here; 0: it
    never fell silent), `confirmed_ns` (the carrier's proof; 0: not yet, `BargeInConfirmed` follows
    if there was a `clear`), `decided_ns`, `told_ns` (the AI was told of a commit that `heard_ms`
    were heard; 0: not yet, `heard_ms` is what is proven so far, and `BargeInTold` follows unless
    the call ends).
    """

    outcome: str
    reason: str
    onset_ns: int
    trigger_ns: int
    decided_ns: int
    generation: int
    heard_ms: int
    flushed_bytes: int
    label: str
    speech_ms: int = 0
    rewound_bytes: int = 0
    source: str = "server"
    candidate: int = 0
    level: int = 0
    probability: float = 0.0
    has_echo: bool = False
    echo_delay_ms: int = 0
    echo_loss_db: float = 0.0
    silent_ns: int = 0
    confirmed_ns: int = 0
    told_ns: int = 0
    is_late: bool = False


REASONS: Final = {
    "speech": "the sound lasted for `commit_ms` (mode instant: it began)",
    "words": "a transcript has words in it",
    "turn_end": "the AI's semantic detector ended the caller's turn with it",
    "no_verdict": "nobody judged it in time: `short_speech` did",
    "too_short": "the sound was shorter than `resume_ms`",
    "no_words": "its transcript is empty",
    "backchannel": "its transcript is nothing but words of listening",
    "echo": "it was, or may have been, our own voice coming back",
    "greeting": "the greeting was protected",
    "not_speaking": "the answer went away while the sound was judged",
}


@dataclass(frozen=True, slots=True)
class BargeInConfirmed:
    """The carrier echoed the fence: its buffer is empty since at most one return trip.

    `was_decided`: the candidate's decision is out already, without this time in it.
    `was_audible`: AI audio was reaching the ear when the `clear` was decided. `onset_ms` and
    `confirmed_ms` are places on the caller's clock: where the sound began, and how far the caller's
    audio had come when the echo came between its frames. No stall of the network is in them.
    """

    generation: int
    trigger_ns: int
    confirmed_ns: int
    candidate: int = 0
    was_decided: bool = False
    onset_ns: int = 0
    was_audible: bool = False
    onset_ms: int = 0
    confirmed_ms: int = 0


@dataclass(frozen=True, slots=True)
class BargeInTold:
    """The AI was told how much was heard of the answer that a commit ended, after the decision.

    `is_proven`: the carrier had proved all there is to prove; else an answer was asked for, or
    the patience was over, and only what was proven by then was told.
    """

    generation: int
    candidate: int
    heard_ms: int
    decided_ns: int
    told_ns: int
    is_proven: bool


Command: TypeAlias = (
    ConnectAi
    | ConfigureAi
    | AppendCallerAudio
    | RequestResponse
    | CommitInput
    | CancelResponse
    | TruncateItem
    | DeleteItem
    | RunTool
    | SubmitOutput
    | SendMark
    | ClearCarrier
    | CloseCarrier
    | CloseAi
    | Noted
    | BargeInHeld
    | BargeInDecided
    | BargeInTold
    | BargeInConfirmed
)
