"""The parts of libraries that nobody promises: all that are used are listed, and are there."""

import ast
import importlib
import inspect
import pkgutil
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import version
from pathlib import Path
from types import FunctionType, ModuleType

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

import jetkv
import jetkv_gateway
from jetkv._core import private_apis as sdk_apis
from jetkv_gateway.private_apis import PARTS, RANGES, Part, PrivateApiMissing, check

ROOT = Path(__file__).parents[2]
LIBRARIES = {
    "uvicorn": "uvicorn",
    "httptools": "httptools",
    "nats": "nats-py",
    "aiohttp": "aiohttp",
    "httpcore": "httpcore",
}
DOCUMENTED = {"_replace", "_asdict", "_exit"}
"""By Python, for all their underscores."""
PYTHONS = {"_abc_impl"}
"""What Python itself gives to a class."""

GATEWAY = {
    (name.partition("(")[0], where) for part in PARTS for name in part.names for where in part.where
}
SDK = {(part.name, part.where) for part in sdk_apis.PARTS}


def test_all_listed_parts_are_there() -> None:
    check()
    for library in sdk_apis.RANGES:
        sdk_apis.check(library)


def test_what_is_missing_is_named_with_its_library_its_version_and_those_allowed() -> None:
    gone = Part("uvicorn", "uvicorn.server:Server", ("gone",), ())
    with pytest.raises(PrivateApiMissing) as caught:
        check([gone])
    assert str(caught.value) == (
        f"uvicorn {version('uvicorn')} has no uvicorn.server.Server.gone as it is needed here: "
        f'install "uvicorn{RANGES["uvicorn"]}"'
    )
    for owner in ("uvicorn.server:Gone", "uvicorn.gone:Server", "uvicorn.gone"):
        with pytest.raises(PrivateApiMissing, match=r"uvicorn.*[Gg]one"):
            check([Part("uvicorn", owner, ("started",), ())])


@pytest.mark.parametrize("name", ["on_tick(count)", "on_tick()", "startup(sockets,more)"])
def test_a_part_that_takes_other_parameters_is_missing(name: str) -> None:
    with pytest.raises(PrivateApiMissing, match=re.escape(name)):
        check([Part("uvicorn", "uvicorn.server:Server", (name,), ())])


def test_a_missing_part_of_the_sdk_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = sdk_apis.Part("aiohttp", "ClientSession", "_gone", "")
    monkeypatch.setattr(sdk_apis, "PARTS", [gone])
    said = 'has no ClientSession._gone, which jetkv needs: install "aiohttp>=3.11,<4"'
    with pytest.raises(ImportError, match=re.escape(said)):
        sdk_apis.check("aiohttp")


def test_the_ranges_are_those_that_are_installed_and_that_the_pins_are_in() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [*project["dependencies"], *project["optional-dependencies"]["gateway"]]
    required = {one.name: one.specifier for one in map(Requirement, asked)}
    pins = dict(
        re.findall(r"^([\w-]+)==([\w.]+)", (ROOT / "requirements/run.txt").read_text(), re.M)
    )
    ranges = {**RANGES, **sdk_apis.RANGES}
    assert SpecifierSet(ranges.pop("Python")) == SpecifierSet(project["requires-python"])
    assert ranges.keys() == set(LIBRARIES.values())
    for library, allowed in ranges.items():
        assert required[library] == SpecifierSet(allowed)
        assert pins[library] in required[library]


@pytest.mark.parametrize(
    ("package", "listed"),
    [(jetkv_gateway, GATEWAY), (jetkv, SDK)],
    ids=["the gateway", "the SDK"],
)
def test_all_that_is_used_is_listed(package: ModuleType, listed: set[tuple[str, str]]) -> None:
    missing = {use for use in uses(package) if use not in listed}
    assert not missing, "name them in private_apis.py"


@pytest.mark.parametrize(
    ("package", "listed"),
    [(jetkv_gateway, GATEWAY), (jetkv, SDK)],
    ids=["the gateway", "the SDK"],
)
def test_all_that_is_listed_is_used(package: ModuleType, listed: set[tuple[str, str]]) -> None:
    idle = {
        (name, where)
        for name, where in listed
        if not re.search(rf"\b{name}\b", (folder_of(package) / where).read_text())
    }
    assert not idle, "take them out of private_apis.py"


def test_a_use_is_found_wherever_it_may_hide(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text(
        "class Own:\n"
        "    def own(self): self._mine = other._mine\n"
        "def use(thing):\n"
        "    thing._first\n"
        "    getattr(thing, '_second')\n"
        "    for name in ('_third', '_Third', 'fourth'): pass\n"
        "    thing._asdict()\n"
    )
    assert set(foreign_names(module, own_names([module]))) == {"_first", "_second", "_third"}


# --- looking through the code


def folder_of(package: ModuleType) -> Path:
    assert package.__file__ is not None
    return Path(package.__file__).parent


def uses(package: ModuleType) -> Iterator[tuple[str, str]]:
    """What modules of a package use of libraries: (name, module as a path)."""
    folder = folder_of(package)
    paths = sorted(folder.rglob("*.py"))
    # The test kit is made of the gateway's, which is ours as well.
    own = own_names([*paths, *folder_of(jetkv_gateway).rglob("*.py")])
    for path in paths:
        if path.name not in ("private_apis.py", "private_parts.py"):
            for name in foreign_names(path, own):
                yield name, str(path.relative_to(folder))
    for name, path in overridden(package):
        yield name, str(path.relative_to(folder))


def is_private(name: str) -> bool:
    return re.fullmatch(r"_[a-z][a-z0-9_]*", name) is not None and not name.endswith("__")


def own_names(paths: list[Path]) -> set[str]:
    """Private names that the modules give to what is their own."""
    names: set[str] = set()
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                names.add(node.name)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                names.add(node.id)
            elif (
                isinstance(node, ast.Attribute)
                and isinstance(node.ctx, ast.Store)
                and isinstance(node.value, ast.Name)
                and node.value.id == "self"
            ):
                names.add(node.attr)
    return names


def foreign_names(path: Path, own: set[str]) -> Iterator[str]:
    """Private names that a module uses, and nobody here has given; by attribute or as a text."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    # The end of a longer text is no name.
    parts = {id(part) for node in nodes if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in nodes:
        name = ""
        if isinstance(node, ast.Attribute):
            name = node.attr
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            name = "" if id(node) in parts else node.value
        if is_private(name) and name not in own and name not in DOCUMENTED:
            yield name


def overridden(package: ModuleType) -> Iterator[tuple[str, Path]]:
    """Private names of a library's class, and any method of uvicorn's, in a class made of it."""
    for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if info.name.endswith("__main__"):
            continue
        module = importlib.import_module(info.name)
        for kind in vars(module).values():
            if not inspect.isclass(kind) or kind.__module__ != info.name:
                continue
            foreign = [base for base in kind.__mro__ if base.__module__.split(".")[0] in LIBRARIES]
            theirs = set().union(*map(names_of, foreign))
            assert module.__file__ is not None
            for name in (names_of(kind, inherited=False) & theirs) - PYTHONS:
                promised = foreign[0].__module__.split(".")[0] != "uvicorn"
                if is_private(name) or (not promised and name in vars(kind) and name[0] != "_"):
                    yield name, Path(module.__file__)


@cache
def names_of(kind: type, *, inherited: bool = True) -> frozenset[str]:
    """What a class defines, and what its methods touch."""
    names = set(dir(kind) if inherited else vars(kind))
    for function in vars(kind).values():
        function = inspect.unwrap(getattr(function, "fget", None) or function)
        if isinstance(function, FunctionType):
            names.update(function.__code__.co_names)
    return frozenset(names)
