"""All rows of the table, by topic and name."""

from tests.contract.http_bodies import CHUNKS, CODINGS, LENGTHS, TRAILERS
from tests.contract.http_connections import CONNECTIONS, EXPECTATIONS, UPGRADES
from tests.contract.http_heads import HEADERS, HOSTS, REQUEST_LINES

__all__ = ["CASES"]

CASES = {
    f"{topic}: {case.name}": case
    for topic, cases in {
        "host": HOSTS,
        "line": REQUEST_LINES,
        "header": HEADERS,
        "length": LENGTHS,
        "coding": CODINGS,
        "chunk": CHUNKS,
        "trailer": TRAILERS,
        "upgrade": UPGRADES,
        "connection": CONNECTIONS,
        "expect": EXPECTATIONS,
    }.items()
    for case in cases
}
