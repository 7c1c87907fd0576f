"""JSON Logic with a limit on its work, for rules that anyone with write access may store.

A short rule can ask for work without end: loops within loops, a list that doubles in each step. So
the lists of a rule, and its operators, count what they do, and stop the evaluation at the limit.
"""

import logging
import math
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from json_logic import jsonLogic
from openfeature.contrib.tools.flagd.core.targeting.targeting import OPERATORS

__all__ = ["MeteredList", "TooMuchWork", "evaluate_rule"]

# Steps that any rule may take, a few milliseconds; and steps for each node of a rule, so that a
# long list of users to compare with is no problem.
_STEPS = 5_000
_STEPS_A_NODE = 4


class TooMuchWork(Exception):
    """Raised if an evaluation has reached its limit."""


class _Meter(threading.local):
    """The steps that are left to the evaluation that runs in this thread."""

    left = 0
    running = False

    def charge(self, steps: int) -> None:
        self.left -= steps
        if self.left < 0:
            raise TooMuchWork


_meter = _Meter()


class MeteredList(list[Any]):
    """A list that counts each time that it is read. A rule has no other lists."""

    __slots__ = ()

    def __iter__(self) -> Iterator[Any]:
        _meter.charge(1 + list.__len__(self))
        return list.__iter__(self)

    def __len__(self) -> int:
        length = list.__len__(self)
        _meter.charge(1 + length)
        return length


def evaluate_rule(rule: Any, nodes: int, data: Mapping[str, Any]) -> Any:
    """Return what a rule of so many nodes gives for the data of a context.

    Raises:
        TooMuchWork: it would take more steps than such a rule may take.
        ReferenceError: it has an operator that does not exist.
        Exception: operators raise anything for values that they do not expect.
    """
    _meter.left, _meter.running = _STEPS + _STEPS_A_NODE * nodes, True
    try:
        return jsonLogic(rule, data, _OPERATORS)
    finally:
        _meter.running = False


def _charge_for(values: tuple[Any, ...]) -> None:
    """Charge for all that an operator may look at; a value can contain itself many times over."""
    steps = 1 + len(values)
    stack = list(values)
    while stack and steps <= _meter.left:
        value = stack.pop()
        if isinstance(value, str):
            steps += len(value) // 32
        elif isinstance(value, list):
            steps += list.__len__(value)
            if steps <= _meter.left:
                stack.extend(list.__iter__(value))
        elif isinstance(value, dict):
            steps += len(value)
            if steps <= _meter.left:
                stack.extend(value.values())
    _meter.charge(steps)


def _counted(operator: Callable[..., Any]) -> Callable[..., Any]:
    def counted(data: Any = None, *args: Any) -> Any:
        _charge_for(args)
        result = operator(data, *args)
        if type(result) is int and result.bit_length() > 64:
            # As in JavaScript. The exact numbers of Python may grow until they fill the memory.
            try:
                return float(result)
            except OverflowError:
                return math.inf if result > 0 else -math.inf
        if isinstance(result, list):
            # The rule may go through it, so it costs its length. What an operator makes is a plain
            # list, which does not count.
            _meter.charge(list.__len__(result))
        return result

    return counted


def _product(data: Any = None, *args: Any) -> Any:
    # A long product of exact numbers takes time by the square of its length.
    return OPERATORS["*"](data, 1.0, *args) if len(args) > 8 else OPERATORS["*"](data, *args)


def _log(_data: Any = None, value: Any = None, *_ignored: Any) -> Any:
    # The operator of the library prints, and standard output is not ours.
    return value


_OPERATORS = {
    name: _counted(operator) for name, operator in {**OPERATORS, "*": _product, "log": _log}.items()
}


def _of_others(_record: logging.LogRecord) -> bool:
    return not _meter.running


# The operators log what they cannot compare, which is what a caller sent, as often as it is sent.
logging.getLogger("openfeature.contrib").addFilter(_of_others)
