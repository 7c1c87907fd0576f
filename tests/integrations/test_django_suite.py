"""Django's own tests of caches and of sessions in them."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from django import get_version

from tests.integrations.peers import COUNTS, SUITES, unpacked_tests
from tests.support.http import Http

CULLING = 6
"""Three tests, sync and async, of a limit on the number of keys. On Redis, they are skipped too."""


def test_the_cache_passes_the_tests_that_django_has_for_every_cache_sync_and_async(
    http: Http, tmp_path: Path, new_bucket: str
) -> None:
    tests = unpacked_tests("django", tmp_path)
    for name in ("jetkv_django.py", "jetkv_django_settings.py"):
        shutil.copy(SUITES / name, tests)
    done = subprocess.run(
        [
            *(sys.executable, "-W", "always::ResourceWarning"),
            *("-m", "django", "test", "--noinput", "jetkv_django"),
        ],
        cwd=tests,
        env={
            **os.environ,
            "JETKV_TEST_LOCATION": f"{http.url}/{new_bucket}",
            "DJANGO_SETTINGS_MODULE": "jetkv_django_settings",
        },
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr[-8000:]
    # Clients are closed with their event loops: async_to_sync makes a loop for each call.
    assert "jetkv" not in "".join(re.findall(r"ResourceWarning.*", done.stderr))
    assert "Unclosed" not in done.stderr, done.stderr[-8000:]
    total = int(re.findall(r"^Ran (\d+) tests", done.stderr, re.MULTILINE)[0])
    skipped = int(re.findall(r"^OK \(skipped=(\d+)\)", done.stderr, re.MULTILINE)[0])
    COUNTS.append(f"Django {get_version()}: {total - skipped} tests passed, {skipped} skipped")
    assert (total - skipped >= 290, skipped) == (True, CULLING), COUNTS[-1]
