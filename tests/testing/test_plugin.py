"""The fixtures, as a project that uses them sees them: pytest runs of their own."""

import shutil
import subprocess
import sys
from xml.etree import ElementTree

import pytest

from jetkv.testing.plugin import PLAN
from tests.testing import project

pytest_plugins = ["pytester"]

SECONDS = 60

INI = """
[pytest]
asyncio_default_fixture_loop_scope = function
filterwarnings = error
"""

# Not written to; and what belongs to this project's other tests takes longer to load than all
# that is tested here.
OPTIONS = ("-pno:cacheprovider", "-pno:schemathesis", "-pno:hypothesispytest")

NAMES = [
    f"{cls.__name__}-{name}"
    for cls in (project.TestBuckets, project.TestMending, project.TestAsyncClient)
    for name in vars(cls)
    if name.startswith("test_")
]


@pytest.fixture(scope="module")
def failures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What went wrong in each test of project.py, by `class-name`: a test's cases together."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "pytest.ini").write_text(INI)
    shutil.copy(project.__file__, folder / "test_project.py")
    report = folder / "report.xml"
    command = [sys.executable, "-m", "pytest", *OPTIONS, f"--junit-xml={report}"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=SECONDS)
    assert report.exists(), done.stdout + done.stderr
    found: dict[str, list[str]] = {}
    for case in ElementTree.parse(report).iter("testcase"):
        test = case.attrib["classname"].rpartition(".")[2] + "-" + case.attrib["name"]
        wrong = [child.text or child.tag for child in case if child.tag != "system-out"]
        found.setdefault(test.partition("[")[0], []).extend(wrong)
    return found


@pytest.mark.parametrize("name", NAMES)
def test_a_project_that_uses_the_plugin_passes(failures: dict[str, list[str]], name: str) -> None:
    assert failures[name] == []


def run(pytester: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    pytester.makeini(INI)
    return pytester.runpytest_inprocess(*OPTIONS, *arguments)


async def test_the_async_client_works_in_the_auto_mode_of_pytest_asyncio(
    jetkv_async_client, jetkv_bucket
) -> None:
    await jetkv_async_client.kv().bucket(jetkv_bucket.name).put("user:1", 1)
    assert jetkv_bucket.get("user:1").value == 1


def test_the_async_client_says_what_it_needs(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_it(jetkv_async_client): pass")
    ini = ("-c", str(pytester.makefile(".ini", empty="[pytest]")))
    result = run(pytester, "-pno:asyncio", "-pno:anyio", *ini)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*jetkv_async_client needs*pip install pytest-asyncio*"])


def test_nothing_starts_for_tests_that_ask_for_nothing(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JETKV_NATS_SERVER", "/nowhere/nats-server")
    pytester.makepyfile("def test_it(): pass")
    run(pytester).assert_outcomes(passed=1)


def test_servers_that_do_not_start_say_why(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JETKV_NATS_SERVER", "/nowhere/nats-server")
    pytester.makepyfile("def test_it(jetkv_url): pass")
    result = run(pytester)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*ServerDidNotStart: JETKV_NATS_SERVER is not a file*"])


def test_an_unknown_provider_is_a_usage_error(pytester: pytest.Pytester) -> None:
    result = run(pytester, "-o", "jetkv_provider=cloud")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*jetkv_provider must be local or container, not 'cloud'*"])


@pytest.mark.parametrize("sources", ["file", "environment, file", "option, environment, file"])
@pytest.mark.parametrize("server", ["nats", "gateway"])
def test_an_image_is_that_of_the_option_then_the_environment_then_the_file(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, server: str, sources: str
) -> None:
    pytester.makeini(f"{INI}\njetkv_{server}_image = file")
    if "environment" in sources:
        monkeypatch.setenv(f"JETKV_TEST_{server.upper()}_IMAGE", "environment")
    option = [f"--jetkv-{server}-image=option"] if "option" in sources else []
    plan = pytester.parseconfigure(*option).stash[PLAN]
    assert getattr(plan, f"{server}_image") == sources.partition(",")[0]


@pytest.mark.parametrize(
    ("option", "provider"), [([], "container"), (["--jetkv=local"], "local")], ids=str
)
def test_the_provider_is_that_of_the_option_then_the_file(
    pytester: pytest.Pytester, option: list[str], provider: str
) -> None:
    pytester.makeini(f"{INI}\njetkv_provider = container")
    assert pytester.parseconfigure(*option).stash[PLAN].provider == provider


def test_loading_the_plugin_loads_neither_servers_nor_transports() -> None:
    program = "import sys, jetkv.testing.plugin; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    heavy = {"aiohttp", "urllib3", "pydantic", "testcontainers", "docker", "jetkv_gateway"}
    assert heavy & set(loaded.stdout.decode().split()) == set()
