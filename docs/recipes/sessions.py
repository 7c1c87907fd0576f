"""Sessions: each ends an hour after its last start, touch or update, and never comes back."""

import sys
from datetime import timedelta

from pydantic import BaseModel

from jetkv import Client
from jetkv.recipes import Sessions


class Session(BaseModel):
    user: str
    role: str = "guest"


def main(url: str = "http://localhost:9123") -> None:
    with Client(url) as client:
        kv = client.kv()
        kv.create_bucket("sessions", ttl=timedelta(hours=1), exist_ok=True)
        sessions = Sessions(kv.bucket("sessions", Session))

        id = sessions.start(Session(user="ada"))  # the cookie's value

        session = sessions.get(id)
        print("signed in:", session.user if session else "nobody")
        sessions.update(id, lambda session: session.model_copy(update={"role": "admin"}))
        print("still there:", sessions.touch(id))

        sessions.end(id)
        print("after logging out:", sessions.get(id), sessions.touch(id))


if __name__ == "__main__":
    main(*sys.argv[1:])
