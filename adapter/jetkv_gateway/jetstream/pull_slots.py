"""One pull of messages at a time, on an inbox of its own.

A server that has several pulls of a consumer serves them in turns. By an inbox for each, what comes
is told apart: which pull is full, and which one the server has ended.
"""

from jetkv_gateway.jetstream.requests import Inbox

__all__ = ["PullSlot"]


class PullSlot:
    """A place for a pull.

    Attributes:
        inbox: that the messages come to.
        batch: messages that the pull asked for, 0 where none is under way.
        left: of those, how many have not come.
        credit: bytes that were taken for it.
        waits: whether it waits for a moment for messages.
    """

    __slots__ = ("batch", "credit", "inbox", "left", "waits")

    def __init__(self) -> None:
        self.inbox: Inbox | None = None
        self.batch = self.left = self.credit = 0
        self.waits = False

    @property
    def subject(self) -> str:
        assert self.inbox is not None, "it is open while there are pulls"
        return self.inbox.subject

    @property
    def is_untouched(self) -> bool:
        """Whether no message of the pull has come."""
        return self.left == self.batch

    def begin(self, batch: int, credit: int, *, waits: bool) -> None:
        self.batch = self.left = batch
        self.credit = credit
        self.waits = waits

    def end(self) -> int:
        """Note that nothing more comes, and return the credit to be given back."""
        credit = self.credit
        self.batch = self.left = self.credit = 0
        return credit
