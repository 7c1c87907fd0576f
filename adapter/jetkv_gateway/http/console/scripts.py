"""Scripts and styles without what is for people. What they do stays the same."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["short_script", "short_style"]

_PART = r"(?:[^`\\$]|\\.|\$(?!\{))*(?:`|\$\{)"
_TOKEN = re.compile(
    rf"""
      (?P<space>(?:\s|//[^\n]*|/\*.*?\*/)+)
    | (?P<private>\#[A-Za-z_$][\w$]*)
    | (?P<word>[A-Za-z_$][\w$]*)
    | (?P<number>(?:\d|\.\d)[\w.]*)
    | (?P<text>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
    | (?P<template>`{_PART})
    | (?P<pattern>/(?![ */]|=[ ])(?:[^\\/\[\n]|\\.|\[(?:[^\]\\\n]|\\.)*\])+/[a-z]*)
    | (?P<sign>=>|\.\.\.|\?\.(?!\d)|>>>=?|(?:\*\*|&&|\|\||\?\?|<<|>>)=?|\+\+|--
        |[=!]==?|[-+*/%<>&|^]=|[-+*/%<>&|^!~?:=,;.(){{}}\[\]])
    """,
    re.VERBOSE | re.DOTALL,
)
_MORE = re.compile(rf"(?P<template>\}}{_PART})", re.DOTALL)
"""What follows an expression in a template."""
_CLOSES = frozenset(")]}")
_BEFORE_PATTERN = frozenset(["return", "typeof", "case", "of", "in", "else", "await", "yield"])
"""Words after which a slash begins a pattern. After other words, it divides."""
_BEGINS = "([{+-!~/"
"""Letters of the signs that a statement may begin with, before which a line break may count."""
_SHORTER = {"const": "let", "true": "!0", "false": "!1", "undefined": "void 0"}

_STYLE_GAPS = re.compile(r"""("[^"\n]*")|\s*([{};,>])\s*|(?<=:)\s+""")


@dataclass(slots=True)
class _Token:
    kind: str
    text: str
    line: bool
    """Whether a line break is before it."""

    @property
    def is_value(self) -> bool:
        """Whether an expression may end with it."""
        if self.kind == "sign":
            return self.text in _CLOSES
        if self.kind == "template":
            return self.text.endswith("`")
        return self.text not in _BEFORE_PATTERN


_EDGE = _Token("sign", ";", False)


def short_script(script: str) -> str:
    """Return a module without comments, needless spaces and long names of private members.

    Each statement has to end with a semicolon or a block. If it ends with another bracket, the
    result is no script. No other mistake changes what a script does.

    Raises:
        ValueError: a slash may be a division or the start of a pattern. Write a division with
            spaces around it, and a pattern with none at its start.
    """
    tokens = [_EDGE, *_tokens(script), _EDGE, _EDGE, _EDGE]
    # Nobody outside of the file can know these names.
    names = dict.fromkeys(token.text for token in tokens if token.kind == "private")
    short = {name: _name(n) for n, name in enumerate(names)}
    parts: list[str] = []
    last = _EDGE
    for at in range(1, len(tokens) - 3):
        token = tokens[at]
        before, after = tokens[at - 1].text, tokens[at + 1].text
        if token.kind == "private":
            token.text = short[token.text]
        elif token.kind == "number":
            token.text = token.text.replace("_", "")
        elif token.kind == "word":
            # Not the name of a member.
            if before not in (".", "?.") and after not in (":", "("):
                token.text = _SHORTER.get(token.text, token.text)
        elif token.kind == "sign" and _is_needless(tokens, at):
            continue
        parts += _between(last, token), token.text
        last = token
    return "".join(parts)


def short_style(style: str) -> str:
    """Return a style without needless spaces."""
    return _STYLE_GAPS.sub(r"\1\2", style).replace(";}", "}")


def _is_needless(tokens: list[_Token], at: int) -> bool:
    """Whether a script says the same without a sign."""
    before, text = tokens[at - 1].text, tokens[at].text
    after = [token.text for token in tokens[at + 1 : at + 4]]
    if text == ";":
        return after[0] == "}"
    if text == ",":
        return after[0] in _CLOSES and before not in ("[", ",")
    if text == "(":  # around the one parameter of a function
        return after[1:] == [")", "=>"] and tokens[at + 1].kind == "word" and before != "async"
    if text == ")" and after[0] == "=>":
        return _is_needless(tokens, at - 2) if tokens[at - 2].text == "(" else False
    return False


def _between(before: _Token, token: _Token) -> str:
    """Return what has to stand between two tokens."""
    left, right = before.text[-1], token.text[0]
    ends = before.kind != "sign" or before.text in ("++", "--")
    if token.line and ends and (token.kind != "sign" or right in _BEGINS):
        return "\n"
    if left + right in ("++", "--", "//", "/*") or (before.kind == "number" and right == "."):
        return " "
    return " " if _is_wordy(left) and _is_wordy(right) else ""


def _is_wordy(letter: str) -> bool:
    return letter.isalnum() or letter in "_$"


def _tokens(script: str) -> Iterator[_Token]:
    at = 0
    line = False
    last = _EDGE
    depths: list[int] = []  # of the curly brackets in each template that is open
    while at < len(script):
        resumed = bool(depths) and not depths[-1] and script[at] == "}"
        found = (_MORE if resumed else _TOKEN).match(script, at)
        text, kind = (found[0], str(found.lastgroup)) if found else ("", "")
        slash = text[:1] == "/" and kind in ("sign", "pattern")
        if not text or (slash and last.is_value != (kind == "sign")):
            raise ValueError(f"line {script.count(chr(10), 0, at) + 1} of a script is not clear")
        at += len(text)
        if kind == "space":
            line = "\n" in text
            continue
        if resumed:
            depths.pop()
        if kind == "template" and text.endswith("{"):
            depths.append(0)
        elif depths and kind == "sign":
            depths[-1] += (text == "{") - (text == "}")
        last = _Token(kind, text, line)
        line = False
        yield last


def _name(n: int) -> str:
    letter = chr(ord("a") + n % 26)
    return f"#{letter}{n // 26}" if n >= 26 else f"#{letter}"
