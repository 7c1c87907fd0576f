"""Feature flags: read from memory, updated by a watch, available while the gateway is away."""

import sys
import time

from jetkv import Client
from jetkv.recipes import Flags


def main(url: str = "http://localhost:9123") -> None:
    with Client(url) as client:
        kv = client.kv()
        kv.create_bucket("feature-flags", exist_ok=True)
        bucket = kv.bucket("feature-flags")
        bucket.put("dark-mode", {"enabled": True, "rollout": 0.5})
        bucket.put("new-search", False)

        with Flags(bucket) as flags:
            for user in ("ada", "radia"):
                print("dark mode for", user, flags.enabled("dark-mode", user=user))
            print("new search:", flags.enabled("new-search"))
            print("not there:", flags.get("beta", default="off"))

            bucket.put("new-search", True)  # any client may do this
            while not flags.enabled("new-search"):
                time.sleep(0.01)
            print("new search:", flags.enabled("new-search"))


if __name__ == "__main__":
    main(*sys.argv[1:])
