"""The turns of threads that change the same key."""

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from jetkv.integrations._turns import Turns


def test_threads_change_a_key_one_after_the_other() -> None:
    turns, inside, most = Turns(), 0, 0
    guard = threading.Lock()

    def change(_number: int) -> None:
        nonlocal inside, most
        with turns.of("hits"):
            with guard:
                inside += 1
                most = max(most, inside)
            time.sleep(0.001)
            with guard:
                inside -= 1

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(change, range(40)))
    assert most == 1


def test_an_error_ends_a_turn() -> None:
    turns = Turns()
    with pytest.raises(KeyError), turns.of("hits"):
        raise KeyError
    began = time.monotonic()
    with turns.of("hits"):
        assert time.monotonic() - began < 5


def test_a_forked_child_does_not_wait_for_a_thread_of_its_parent() -> None:
    turns = Turns()
    with turns.of("hits"):
        child = os.fork()
        if child == 0:
            began = time.monotonic()
            with turns.of("hits"):
                os._exit(0 if time.monotonic() - began < 5 else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
