"""The contract of the compiled test for tones."""

# ruff: noqa: PYI021  this stub is where the contract is read; the compiled file is no text

class ToneJudge:
    """Tells the pure tones of the phone network from voices, by limits it is given."""

    def __init__(
        self,
        table: bytes,
        *,
        lowest_hz: float,
        highest_hz: float,
        weakest: float,
        rest_max: float,
    ) -> None:
        """Take what each mu-law byte is: 256 floats of 32 bits as this machine writes them.

        A tone lies from `lowest_hz` to `highest_hz`; a peak of less than `weakest` of the whole
        power is none; at most `rest_max` of it lies beside the tones.

        Raises ValueError where the table has another length.
        """

    def is_tone(self, audio: bytes) -> bool:
        """Say whether 256 mu-law bytes hold nothing but one or two steady tones.

        Raises ValueError for another length.
        """
