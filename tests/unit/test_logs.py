"""The forms of a line of the log."""

import json
import logging
import sys

import pytest

from jetkv_gateway.telemetry.logs import ConsoleFormatter, JsonFormatter


def record(message: str, **kept: object) -> logging.LogRecord:
    made = logging.LogRecord("jetkv.http", logging.WARNING, "", 0, message, (), None)
    made.__dict__.update(kept)
    return made


@pytest.mark.parametrize("formatter", [ConsoleFormatter(), JsonFormatter()])
@pytest.mark.parametrize("end", ["\n", "\r", "\u2028", "\x85", "\x00"])
def test_a_text_of_a_client_cannot_begin_another_line(
    formatter: logging.Formatter, end: str
) -> None:
    line = formatter.format(record(f"no such thing: x{end}2026 ERROR jetkv: on fire"))
    assert line.splitlines() == [line]
    assert end not in line


def test_json_has_the_parts_of_a_request_and_the_time_in_utc() -> None:
    line = json.loads(
        JsonFormatter().format(
            record("request r", jetkv_request={"request_id": "r", "status": 503}, created=0.0)
        )
    )
    assert line["time"].startswith("1970-01-01T00:00:00.")
    assert (line["level"], line["request_id"], line["status"]) == ("warning", "r", 503)


def test_json_has_a_traceback_in_one_line() -> None:
    try:
        {}["a bug"]
    except KeyError:
        text = JsonFormatter().format(record("failed", exc_info=sys.exc_info()))
    assert text.splitlines() == [text]
    assert "KeyError: 'a bug'" in json.loads(text)["exception"]
