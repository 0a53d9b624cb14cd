"""What the embedded AI says: a small conversation, written down, that admits what it cannot do."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Say:
    """Speak a text."""

    text: str


@dataclass(frozen=True, slots=True)
class UseTool:
    """Call a tool the client declared, after some words; without one, speak `otherwise`.

    `name` says which; empty: the first one that does not end the call.
    """

    words: str
    otherwise: str
    name: str = ""


Step = Say | UseTool


@dataclass(frozen=True, slots=True)
class Script:
    """A conversation: the first response greets, then each turn takes the next step.

    When the steps are used up, those from `repeat_from` on come round again. `cut_off` is spoken
    instead of a step after an interruption; `{heard}` are the last words that were heard.
    """

    greeting: str
    steps: tuple[Step, ...]
    cut_off: str
    cut_off_unheard: str
    tool_result: str
    aside: str
    repeat_from: int = 0

    def __post_init__(self) -> None:
        """Refuse a script that runs dry."""
        if not 0 <= self.repeat_from < len(self.steps):
            message = f"repeat_from is {self.repeat_from}: use 0..{len(self.steps) - 1} (the steps)"
            raise ValueError(message)


LONG_ANSWER = (
    "Gladly. And please, interrupt me whenever you like. "
    "I speak to the bridge about eight times faster than you can listen, so right now it holds "
    "many seconds of my voice that you have not heard yet. "
    "The moment you say something, it throws all of them away, tells the phone company to do the "
    "same, and I fall silent. "
    "Then it tells me how many milliseconds of me you really heard, so that I never believe I said "
    "more than I did. "
    "People have talked over each other ever since the telephone was patented, in eighteen "
    "seventy six. Go on, stop me."
)

DEMONSTRATION = Script(
    greeting=(
        "Hello, this is fastbridge. "
        "I am a small voice that lives inside the program. Ask me how I learned to be quiet."
    ),
    steps=(
        Say(LONG_ANSWER),
        Say(
            "You let me finish, thank you. "
            "I should be honest: I do not understand words, I only hear that you speak. "
            "A real model would answer your question now. I can only answer with patience."
        ),
        UseTool(
            words="One moment, I look that up.",
            otherwise="If you had given me a tool, I would call it now, and read you the result.",
        ),
        Say("I hear that you speak, but not what you say. Interrupt me once more, if you like."),
        Say(LONG_ANSWER),
    ),
    cut_off=(
        "You cut me off. I believe the last words you heard were: {heard}. "
        "All that came after it, you never heard, and I know it."
    ),
    cut_off_unheard="You cut me off before you had heard a word of me. Go ahead, I am listening.",
    tool_result="The answer came back. {result}.",
    aside="I have nothing to add.",
    repeat_from=3,
)
"""The conversation of the demo: a greeting, an answer worth interrupting, a tool, small talk."""
