"""What can be wrong with a file of an export."""

__all__ = ["FileDamagedError"]


class FileDamagedError(Exception):
    """Raised for a file that is no whole export: cut off, edited, or something else.

    Attributes:
        message: what is wrong.
        hint: what to do, or None.
    """

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
