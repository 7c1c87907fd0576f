"""How often a request was tried again. Pure."""

__all__ = ["Retries"]


class Retries:
    """Counts the tries of one request beyond its first ones.

    It is handed down with the request's command, and belongs to that request alone: requests that
    wait for each other share a context, but no count.

    Attributes:
        count: of all that was tried again, whatever became of it.
    """

    count = 0
