"""Counts the retries of a request. Pure."""

__all__ = ["Retries"]


class Retries:
    """The number of retries of one request.

    It belongs to one request and is passed down with its command. Requests that wait for each other
    share a context, but not this count.

    Attributes:
        count: the number of all retries, whatever their result was.
    """

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0
