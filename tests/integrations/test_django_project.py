"""A Django project with the settings and views of docs/integrations.md, served for real."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.cookiejar import CookieJar
from pathlib import Path
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, Request, build_opener

import pytest

from tests.support.http import BUCKETS, Bucket, Http
from tests.support.ports import free_port
from tests.support.waiting import until

PAGE = Path(__file__).parents[2] / "docs" / "integrations.md"
URLS = """
from django.contrib import admin
from django.template.response import TemplateResponse
from django.urls import path
from project import views

urlpatterns = [
    path("admin/", admin.site.urls),
    path("prices", views.prices),
    path("visits", views.visits),
    path("cart/<item>", views.cart),
    path("page", lambda request: TemplateResponse(request, "page.html", dict(request.GET.items()))),
]
"""
TEMPLATE = "{% load cache %}{% cache 60 sidebar color %}{{ text }}{% endcache %}"
MORE_SETTINGS = """
MIDDLEWARE = [
    "django.middleware.cache.UpdateCacheMiddleware",
    *MIDDLEWARE,
    "django.middleware.cache.FetchFromCacheMiddleware",
]
CACHE_MIDDLEWARE_SECONDS = 1
TEMPLATES[0]["DIRS"] = [BASE_DIR]
ALLOWED_HOSTS = ["127.0.0.1"]
"""
WSGI = """
import os, socket, sys
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from django.core.cache import caches
from project.wsgi import application

# As with gunicorn --preload: the parent has used its connections when the workers are forked.
caches["default"].set("loaded", True)
caches["sessions"].get("loaded")


class Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class Handler(WSGIRequestHandler):
    def log_message(self, *_):
        pass


server = Server(("127.0.0.1", int(sys.argv[1])), Handler)
server.set_app(application)
children = [os.fork() for _ in range(2)]
if all(children):
    for child in children:
        os.waitpid(child, 0)
else:
    server.serve_forever()
"""


def block(title: str) -> str:
    """The Python block of the page that begins with a comment of this title."""
    text = PAGE.read_text()
    (code,) = re.findall(rf"^```python\n# {re.escape(title)}\n(.*?)^```$", text, re.M | re.S)
    return code


@dataclass
class Project:
    folder: Path
    gateway: Http

    def run(self, *words: str) -> None:
        done = subprocess.run(
            [sys.executable, *words], cwd=self.folder, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr

    @contextmanager
    def served(self, *words: str, port: int) -> Iterator["Browser"]:
        with (self.folder / "log").open("w") as log:
            server = subprocess.Popen(
                [sys.executable, *words],
                cwd=self.folder,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        browser = Browser(f"http://127.0.0.1:{port}")
        try:
            until(browser.is_served, "the project is served", 30)
            yield browser
        finally:
            os.killpg(server.pid, signal.SIGTERM)
            server.wait(20)
        assert "Traceback" not in (self.folder / "log").read_text()
        assert "Unclosed" not in (self.folder / "log").read_text()


class Browser:
    def __init__(self, url: str) -> None:
        self.url = url
        self.cookies = CookieJar()
        self._open = build_opener(HTTPCookieProcessor(self.cookies)).open

    def is_served(self) -> bool:
        try:
            self.get("/prices")
        except OSError:
            return False
        return True

    def get(self, path: str, form: dict[str, str] | None = None) -> str:
        data = None if form is None else urlencode(form).encode()
        with self._open(Request(self.url + path, data), timeout=20) as answer:
            return answer.read().decode()


@pytest.fixture(scope="module")
def project(http: Http, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    folder = tmp_path_factory.mktemp("site")
    found = Project(folder, http)
    found.run("-m", "django", "startproject", "project", ".")
    settings = folder / "project" / "settings.py"
    code = block("settings.py").replace("http://localhost:9123", http.url)
    settings.write_text(settings.read_text() + code + MORE_SETTINGS)
    (folder / "project" / "views.py").write_text(block("views.py"))
    (folder / "project" / "urls.py").write_text(URLS)
    (folder / "page.html").write_text(TEMPLATE)
    (folder / "serve.py").write_text(WSGI)
    found.run("manage.py", "migrate", "-v0")
    os.environ["DJANGO_SUPERUSER_PASSWORD"] = "of the tests"
    try:
        found.run(
            *("manage.py", "createsuperuser", "--noinput"),
            *("--username", "ada", "--email", "ada@example.org"),
        )
    finally:
        del os.environ["DJANGO_SUPERUSER_PASSWORD"]
    yield found
    for name in ("django-cache", "django-sessions"):
        http.delete(f"{BUCKETS}/{name}")


@pytest.fixture(params=["ASGI, two workers", "WSGI, forked after it was loaded"])
def browser(project: Project, request: pytest.FixtureRequest) -> Iterator[Browser]:
    port = free_port()
    words = ["serve.py", f"{port}"]
    if "ASGI" in request.param:
        words = ["-m", "uvicorn", "project.asgi:application", "--workers", "2", "--port", f"{port}"]
    with project.served(*words, port=port) as browser:
        yield browser


def test_pages_fragments_counters_and_sessions_are_kept_in_buckets(
    project: Project, browser: Browser
) -> None:
    start = json.loads(browser.get("/visits?0"))["visits"]
    for number in range(1, 6):
        # The cache middleware answers for the same URL; each of these is another one.
        assert json.loads(browser.get(f"/visits?{number}")) == {"visits": start + number}

    assert json.loads(browser.get("/cart/book")) == {"cart": ["book"]}
    assert json.loads(browser.get("/cart/pen")) == {"cart": ["book", "pen"]}
    (id,) = [cookie.value for cookie in browser.cookies if cookie.name == "sessionid"]
    sessions = Bucket(project.gateway, "django-sessions")
    session = sessions.key(f":1:django.contrib.sessions.cache{id}")
    assert project.gateway.get(f"{session}?values=raw").json == {"cart": ["book", "pen"]}

    color = f"color={browser.url[-5:]}"
    assert browser.get(f"/page?{color}&text=first") == "first"
    assert browser.get(f"/page?{color}&text=second") == "first"
    assert browser.get("/prices") == '{"book": 12}'

    cache = Bucket(project.gateway, "django-cache")
    counter = project.gateway.get(f"{cache.key('shop:1:visits')}?values=raw")
    assert int(counter.body) == start + 5
    assert counter.headers["content-type"] == "application/json"


def test_a_login_of_the_admin_lasts_in_every_worker_and_ends(browser: Browser) -> None:
    token = re.findall(r'csrfmiddlewaretoken" value="(\w+)"', browser.get("/admin/login/"))[0]
    form = {"username": "ada", "password": "of the tests", "csrfmiddlewaretoken": token}
    assert "Site administration" in browser.get("/admin/login/?next=/admin/", form)
    for number in range(8):
        assert "Site administration" in browser.get(f"/admin/?{number}")
    token = re.findall(r'csrfmiddlewaretoken" value="(\w+)"', browser.get("/admin/?token"))[0]
    assert "Logged out" in browser.get("/admin/logout/", {"csrfmiddlewaretoken": token})
    assert "Log in" in browser.get("/admin/?after")
