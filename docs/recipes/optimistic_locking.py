"""Optimistic locking: many writers change one value, and no change is lost."""

import sys
from concurrent.futures import ThreadPoolExecutor

from jetkv import Client, RevisionMismatchError


def main(url: str = "http://localhost:9123") -> None:
    with Client(url) as client:
        kv = client.kv()
        kv.create_bucket("counters", exist_ok=True)
        counters = kv.bucket("counters")
        counters.put("page-views", 0)

        def view(_: int) -> int:
            return counters.modify("page-views", lambda n: (n or 0) + 1).value

        with ThreadPoolExecutor(8) as threads:
            totals = list(threads.map(view, range(80)))
        print("page views:", counters.get("page-views").value)
        print("every total once:", sorted(totals) == list(range(1, 81)))

        # The same by hand, for programs that let a person resolve a conflict.
        entry = counters.get("page-views")
        counters.put("page-views", 1000)
        try:
            counters.update("page-views", entry.value + 1, entry.revision)
        except RevisionMismatchError as error:
            print("somebody else was here:", error.current_revision == entry.revision + 1)


if __name__ == "__main__":
    main(*sys.argv[1:])
