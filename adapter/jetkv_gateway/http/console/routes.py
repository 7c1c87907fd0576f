"""The routes of the console. They are public, since its files hold no data."""

from jetkv_gateway.http.route_parts import CONSOLE, TEXT
from jetkv_gateway.http.router import Answer, Parameter, Route

__all__ = ["CONSOLE_FILE", "CONSOLE_ROUTES"]

CONSOLE_FILE = Parameter(
    "file", "Name of a file of the console", {"pattern": "^[A-Za-z0-9_.-]{1,64}$"}, where="path"
)
_TAG = "Console"
_IF_NONE_MATCH = Parameter(
    "If-None-Match", "Answer 304 if the file still has one of these tags", where="header"
)
_NOT_MODIFIED = Answer("Not modified")


def _page(name: str, template: str) -> Route:
    return Route(
        name,
        "GET",
        template,
        None,
        "Open the console",
        _TAG,
        parameters=(_IF_NONE_MATCH,),
        page=True,
        answers={200: Answer("The page", {"text/html": TEXT}), 304: _NOT_MODIFIED},
        error_statuses=(404,),
    )


CONSOLE_ROUTES: tuple[Route, ...] = (
    _page("console", CONSOLE),
    _page("console_folder", f"{CONSOLE}/"),
    Route(
        "console_file",
        "GET",
        f"{CONSOLE}/{{file}}",
        None,
        "Read a file of the console",
        _TAG,
        parameters=(_IF_NONE_MATCH,),
        answers={200: Answer("The file", {"*/*": TEXT}), 304: _NOT_MODIFIED},
        error_statuses=(404,),
    ),
)
"""The page has two paths, so that it opens with and without a slash at the end."""
