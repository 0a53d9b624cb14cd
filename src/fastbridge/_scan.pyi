"""The contract of the compiled scan of the three hottest messages."""

# ruff: noqa: PYI021  this stub is where the contract is read; the compiled file is no text

def scan_media(text: object, stream_sid: bytes) -> tuple[str, int, int, int] | None:
    """Find the caller audio in one Twilio message, `text` as UTF-8 bytes.

    Returns:
        `(payload, bytes, level, timestamp_ms)`: base64, decoded length, mean 14-bit amplitude, the
        carrier's clock (-1: not said). None for everything that is not exactly an inbound `media`
        message of this stream with known names, plain ASCII strings and valid base64.
    """

def scan_mark(text: object, stream_sid: bytes) -> str | None:
    """Find the name in a mark that came back, `text` as UTF-8 bytes.

    None for everything that is not exactly a `mark` message of this stream with known names, plain
    ASCII strings and a name of at most 256 characters.
    """

def scan_delta(text: object) -> tuple[str, str, str] | None:
    """Find the audio in one server event, `text` as UTF-8 bytes.

    Returns:
        `(response_id, item_id, delta)`, the delta as it came (base64, unchecked). None for
        everything that is not exactly an audio delta, by its GA or beta name, with known names and
        plain ASCII strings.
    """
