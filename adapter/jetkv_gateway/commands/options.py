"""Options of a command, generated from `Settings`."""

import functools
import inspect
import types
from collections.abc import Callable, Collection, Iterator
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

import typer
from pydantic.fields import FieldInfo

from jetkv_gateway.configuration.about import About, Panel, described, flag_of
from jetkv_gateway.configuration.sources import secrets
from jetkv_gateway.settings import Settings

__all__ = ["with_settings"]

_NO = "no_"

_SCALARS = (bool, int, float, Path)


def with_settings(
    *panels: Panel, names: Collection[str] = ()
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of the settings of these panels, and of the `names`.

    Its first parameter, `flags`, gets what the user has given, by setting. Settings whose flag was
    not given are missing there, so that variables and files count.
    """
    options = [
        option
        for name, field, about in described(Settings.model_fields)
        if (about.panel in panels or name in names) and about.flag != ""
        for option in _options(name, field, about)
    ]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def run(**given: Any) -> None:
            values = {option.name: given.pop(option.name) for option in options}
            flags = {name: value for name, value in values.items() if value not in (None, [])}
            for name in [name for name in flags if name.startswith(_NO)]:
                flags[name.removeprefix(_NO)] = not flags.pop(name)
            command(flags, **given)

        _, *own = inspect.signature(command).parameters.values()
        keywords = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in own]
        parameters = [*keywords, *options]
        # typer reads these.
        run.__annotations__ = {one.name: one.annotation for one in parameters}
        vars(run)["__signature__"] = inspect.Signature(parameters)
        return run

    return decorate


def _options(name: str, field: FieldInfo, about: About) -> Iterator[inspect.Parameter]:
    flag = flag_of(name, about)
    kind: Any = _kind(field.annotation)
    if name in secrets(Settings):
        text = f"File with the {about.help}; there is also the variable."
        yield _option(f"{name}_file", f"{flag}-file", Path, about.panel, text)
        return
    # The opposite is for settings that a file or a variable has. A column of its own in the help
    # would leave little room for the rest.
    hidden = kind is bool and field.default is True
    yield _option(name, flag, kind, about.panel, _help(field, about), hidden=hidden)
    if kind is bool:
        opposite = f"--no-{flag.removeprefix('--')}"
        text = f"Turn this off: {about.help}"
        yield _option(f"{_NO}{name}", opposite, bool, about.panel, text, hidden=not hidden)


def _option(
    name: str, flag: str, kind: Any, panel: Panel, text: str, *, hidden: bool = False
) -> inspect.Parameter:
    option = typer.Option(
        flag, help=text, rich_help_panel=panel.value, show_default=False, hidden=hidden
    )
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[kind | None, option],
    )


def _kind(annotation: Any) -> Any:
    """Return the type that the command line shows. Pydantic checks the value."""
    while get_origin(annotation) in (Annotated, Union, types.UnionType):
        annotation = next(one for one in get_args(annotation) if one is not type(None))
    if get_origin(annotation) is list:
        return list[str]
    if isinstance(annotation, type) and issubclass(annotation, (*_SCALARS, Enum)):
        return annotation
    return str


def _help(field: FieldInfo, about: About) -> str:
    if get_origin(field.annotation) is list:
        return f"{about.help} Repeatable."
    default: Any = about.default or field.default
    if isinstance(default, Enum):
        default = default.value
    if isinstance(default, bool) or default in (None, ""):
        return about.help
    if isinstance(default, float):
        default = f"{default:g}"
    return f"{about.help} Default: {default}."
