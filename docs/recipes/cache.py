"""Caching with TTL: compute a value once, keep it for five minutes, then compute it again.

Threads that ask at the same time wait for one computation. While the gateway is away, a call
returns a value that this process saw in the last 30 seconds, or computes one.
"""

import sys
from datetime import timedelta

from jetkv import Client
from jetkv.recipes import cached


def fetch_profile(user: str) -> dict[str, str]:
    print(f"computing {user}")
    return {"id": user, "name": "Ada Lovelace"}


def main(url: str = "http://localhost:9123") -> None:
    with Client(url, timeout=1) as client:
        kv = client.kv()
        kv.create_bucket("cache", ttl=timedelta(minutes=5), exist_ok=True)

        profile = cached(kv.bucket("cache"), key="user:{user}:profile")(fetch_profile)
        print(profile("123")["name"])
        print(profile("123")["name"])
        profile.invalidate("123")
        print(profile("123")["name"])


if __name__ == "__main__":
    main(*sys.argv[1:])
