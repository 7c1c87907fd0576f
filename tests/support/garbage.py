"""What a piece of work leaves to the cyclic collector."""

import gc
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["Garbage", "garbage"]


class Garbage:
    """What was found, once the block is over.

    Attributes:
        count: of the objects that did not free themselves.
        kinds: their types, the most frequent first, to tell where to look.
    """

    count = 0
    kinds = ""


@contextmanager
def garbage() -> Iterator[Garbage]:
    """Find the objects that are left in cycles by what is done meanwhile, in this process."""
    found = Garbage()
    gc.collect()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        yield found
        gc.collect()
        kinds = Counter(type(one).__qualname__ for one in gc.garbage)
        found.count = len(gc.garbage)
        found.kinds = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(12))
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
