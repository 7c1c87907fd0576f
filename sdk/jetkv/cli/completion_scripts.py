"""`jetkv completion`: the scripts with which shells complete commands, buckets and keys.

Each passes the line up to the cursor to `jetkv`, in variables that typer reads. It gets a candidate
in each line, followed by a tab and a description. None of them evaluates it: a key may be any text.
"""

import sys
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated

import typer

__all__ = ["Shell", "is_asked", "prepare", "register", "script"]


class Shell(StrEnum):
    """The shells that can complete."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


_VARIABLE = "_JETKV_COMPLETE"
_ASK = f"{_VARIABLE}=complete_fish _TYPER_COMPLETE_FISH_ACTION=get-args _TYPER_COMPLETE_ARGS="

# Bash splits words at colons, which many keys have, and replaces only what stands after the last.
_BASH = f"""\
_jetkv() {{
    local line="${{COMP_LINE:0:COMP_POINT}}" found
    local word="${{line##*[[:space:]]}}"
    local before="${{word%"${{word##*[:=]}}"}}"
    COMPREPLY=()
    while IFS= read -r found; do
        [[ -n $found ]] || continue
        found="${{found%%$'\\t'*}}"
        case $word in
            \\'*) [[ $found != *\\'* ]] || continue ;;
            \\"*) found="$(sed 's/[\\\\"$`]/\\\\&/g' <<<"$found")" ;;
            *) found="$(printf %q "$found")" ;;
        esac
        COMPREPLY+=("${{found#"$before"}}")
    done < <({_ASK}"$line" jetkv 2>/dev/null)
}}
complete -o default -F _jetkv jetkv
"""
_ZSH = f"""\
_jetkv() {{
    local found
    local -a values shown
    while IFS= read -r found; do
        [[ -n $found ]] || continue
        values+=("${{found%%$'\\t'*}}")
        shown+=("${{found//$'\\t'/  -- }}")
    done < <({_ASK}"${{(j: :)words[1,CURRENT]}}" jetkv 2>/dev/null)
    if (( $#values )); then
        compadd -l -d shown -a values
    else
        _files
    fi
}}
compdef _jetkv jetkv
"""
_FISH = f"""\
function __jetkv_ask
    set -l line (commandline -cp | string collect)
    set -g __jetkv_found (env {_ASK}$line jetkv 2>/dev/null | string match --regex .+)
    test (count $__jetkv_found) -gt 0
end
complete --command jetkv --condition __jetkv_ask --no-files --arguments '$__jetkv_found'
"""
_SCRIPTS = {Shell.BASH: _BASH, Shell.ZSH: _ZSH, Shell.FISH: _FISH}


def is_asked(environment: Mapping[str, str]) -> bool:
    """Return whether a shell asks for candidates."""
    return _VARIABLE in environment


def prepare() -> None:
    """Make typer answer shells. Otherwise it does so only in programs that have its own options."""
    from typer.completion import get_completion_inspect_parameters

    get_completion_inspect_parameters()


def script(shell: Shell) -> str:
    """Return the script of a shell."""
    return _SCRIPTS[shell]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("completion")(_completion)


def _completion(
    shell: Annotated[Shell, typer.Argument(help="The shell that you use.")],
) -> None:
    """Print a script that completes commands, buckets and keys.

    bash: source <(jetkv completion bash). zsh: the same with zsh, after compinit. fish: jetkv
    completion fish | source.
    """
    sys.stdout.write(script(shell))
