"""Counts the work of the gateway in calls of Python functions, which no busy machine moves."""

from collections import Counter
from types import FrameType


class Calls:
    """Counts calls of Python functions in threads that start while it is installed."""

    def __init__(self) -> None:
        self.counting = False
        self.seen: Counter[str] = Counter()

    def __call__(self, frame: FrameType, event: str, _argument: object) -> None:
        if self.counting and event == "call":
            code = frame.f_code
            self.seen[f"{code.co_filename.rpartition('/')[2]}:{code.co_qualname}"] += 1

    def most(self, count: int, times: int) -> str:
        """Return what was called most, for who has to find out what is new.

        Args:
            times: how often the work was done that was counted.
        """
        return ", ".join(
            f"{name} × {number / times:.1f}" for name, number in self.seen.most_common(count)
        )
