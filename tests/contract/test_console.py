"""How the files of the console are served: to everybody, unchanged, and as harmless as can be."""

import gzip
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from importlib.resources import files

import pytest

from jetkv.testing import LocalNats
from jetkv_gateway.http.console.files import without_notes
from tests.support.gateway import running_gateway
from tests.support.http import Http

STATIC = files("jetkv_gateway.http.console").joinpath("static")
NAMES = sorted(one.name for one in STATIC.iterdir())
MOST_BYTES = 150_000
CONSOLE = "/console"


class Links(HTMLParser):
    """What a page loads, and what would run in it without a file."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.inline: list[str] = []
        self._in = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self._in = tag
        self.loaded += [given[name] or "" for name in ("src", "href") if name in given]
        self.inline += [name for name in given if name == "style" or name.startswith("on")]

    def handle_data(self, data: str) -> None:
        if self._in in ("script", "style") and data.strip():
            self.inline.append(data)


@pytest.fixture(scope="module")
def without_console(nats: LocalNats) -> Iterator[Http]:
    with running_gateway(nats.url, console=False) as http:
        yield http


def policy_of(http: Http, path: str) -> dict[str, str]:
    header = http.get(path).headers["content-security-policy"]
    rules = (rule.strip().partition(" ") for rule in header.split(";"))
    return {name: value for name, _, value in rules}


@pytest.mark.parametrize("path", [CONSOLE, f"{CONSOLE}/"])
def test_the_page_has_only_links_that_work(http: Http, path: str) -> None:
    answer = http.get(path)
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    links = Links(answer.body.decode())
    assert links.inline == []
    assert links.loaded
    for link in links.loaded:
        # Relative, so that the page also works behind a proxy that adds a path.
        assert not re.match(r"[a-z]+:|/", link)
        assert http.get(path.rpartition("/")[0] + "/" + link).status == 200


@pytest.mark.parametrize("name", NAMES)
def test_each_file_is_served_and_may_not_be_taken_for_something_else(http: Http, name: str) -> None:
    answer = http.get(f"{CONSOLE}/{name}")
    assert answer.status == 200
    assert answer.body == without_notes(name, STATIC.joinpath(name).read_bytes())
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize(
    ("script", "sent"),
    [
        ("/** Notes. */\nf(); // why\ng();\n", "f();g();"),
        ("const a = /** @type {any} */ (b);", "let a=(b);"),
        ("if (a) {\n  b();\n}\nreturn c;", "if(a){b()}return c;"),
        ("return\na;\nb\n++c;", "return\na;b\n++c;"),
        ("f((a) => a + +b, (a, c) => a - -c,);", "f(a=>a+ +b,(a,c)=>a- -c);"),
        ("async (a) => [a, , 1_000 .b,];", "async(a)=>[a,,1000 .b];"),
        (
            "x = true ? undefined : { true: o.true, of: 'const  // a' };",
            "x=!0?undefined:{true:o.true,of:'const  // a'};",
        ),
        (
            "class B { #one = 1; get two() { return this.#one + '#one'; } }",
            "class B{#a=1;get two(){return this.#a+'#one'}}",
        ),
        (
            "a = `  ${b ? ` , ${ {c: 1} }  ` : f('}')}  // `;",
            "a=`  ${b?` , ${{c:1}}  `:f('}')}  // `;",
        ),
        ("a / b / c; d = / [/] = '/g.test(e); f = g.match(/=(.*)/s);", None),
        (
            "a / b / c; d = /[ /] = '/g.test(e); f = g.match(/=(.*)/s);",
            "a/b/c;d=/[ /] = '/g.test(e);f=g.match(/=(.*)/s);",
        ),
        ("a = b /c/ d;", None),
        ("a = `b", None),
    ],
)
def test_a_script_is_sent_without_what_is_for_people_alone(script: str, sent: str | None) -> None:
    if sent is None:
        with pytest.raises(ValueError, match="of a script"):
            without_notes("a.js", script.encode())
    else:
        assert without_notes("a.js", script.encode()).decode() == sent


def test_a_style_is_sent_without_wide_spaces() -> None:
    style = b'a:hover, b .c > i {\n  margin: -1px calc(1px + 2px);\n}\ni { content: "; > "; }'

    assert without_notes("a.css", style) == (
        b'a:hover,b .c>i{margin:-1px calc(1px + 2px)}i{content:"; > "}'
    )


def test_a_file_has_the_media_type_that_its_use_needs(http: Http) -> None:
    types = {"app.js": "text/javascript", "console.css": "text/css", "icon.svg": "image/svg+xml"}
    for name, media in types.items():
        assert http.get(f"{CONSOLE}/{name}").headers["content-type"].startswith(media)


@pytest.mark.parametrize("path", [CONSOLE, f"{CONSOLE}/app.js"])
def test_the_policy_lets_nothing_run_but_files_of_the_gateway(http: Http, path: str) -> None:
    policy = policy_of(http, path)
    assert policy.pop("default-src") == "'none'"
    for name in ("base-uri", "form-action", "frame-ancestors"):
        assert policy.pop(name) == "'none'"
    assert policy.pop("require-trusted-types-for") == "'script'"
    assert policy.pop("trusted-types") == "'none'"
    assert policy
    assert set(policy.values()) == {"'self'"}


def test_a_file_that_has_not_changed_is_not_sent_again(http: Http) -> None:
    path = f"{CONSOLE}/app.js"
    tag = http.get(path).headers["etag"]
    for sent in (tag, f'"other", W/{tag}', "*"):
        answer = http.get(path, If_None_Match=sent)
        assert (answer.status, answer.body, answer.headers["etag"]) == (304, b"", tag)
    assert http.get(path, If_None_Match='"other"').status == 200


@pytest.mark.parametrize("accepted", ["gzip", "br, gzip;q=0.5", "GZIP", "deflate, x-gzip"])
def test_gzip_is_sent_to_a_client_that_takes_it(http: Http, accepted: str) -> None:
    path = f"{CONSOLE}/app.js"
    plain, packed = http.get(path), http.get(path, Accept_Encoding=accepted)
    assert packed.headers["content-encoding"] == "gzip"
    assert gzip.decompress(packed.body) == plain.body
    assert len(packed.body) < len(plain.body)
    assert packed.headers["etag"] != plain.headers["etag"]
    for answer in (plain, packed):
        assert answer.headers["vary"] == "Accept-Encoding"


@pytest.mark.parametrize("accepted", ["identity", "gzip;q=0", "gzip; q=0.000, br", "notgzip"])
def test_gzip_is_not_sent_to_a_client_that_does_not_take_it(http: Http, accepted: str) -> None:
    answer = http.get(f"{CONSOLE}/app.js", Accept_Encoding=accepted)
    assert "content-encoding" not in answer.headers


@pytest.mark.parametrize("name", ["none.js", "__init__.py", "..%2Fhandlers.py", "%2e%2e", "a%2Fb"])
def test_there_is_nothing_but_the_files(http: Http, name: str) -> None:
    answer = http.get(f"{CONSOLE}/{name}")
    assert (answer.status, answer.json["code"]) == (404, "not_found")


def test_all_files_together_are_small() -> None:
    sent = [without_notes(name, STATIC.joinpath(name).read_bytes()) for name in NAMES]
    assert sum(map(len, sent)) < MOST_BYTES


def test_a_head_has_the_headers_alone(http: Http) -> None:
    answer = http.request("HEAD", CONSOLE)
    assert (answer.status, answer.body) == (200, b"")
    assert int(answer.headers["content-length"]) == len(http.get(CONSOLE).body)


@pytest.mark.parametrize("path", [CONSOLE, f"{CONSOLE}/", f"{CONSOLE}/app.js"])
def test_a_gateway_without_the_console_answers_404(without_console: Http, path: str) -> None:
    answer = without_console.get(path)
    assert answer.status == 404
    assert "setting console" in answer.json["hint"]
