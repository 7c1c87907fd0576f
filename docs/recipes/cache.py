"""Caching with TTL: a value is computed once, kept for five minutes, and then computed anew.

Threads that ask at once wait for one computation. Where the cache is away, the value is computed.
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
