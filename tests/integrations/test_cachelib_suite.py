"""cachelib's own tests."""

from pathlib import Path

from tests.integrations.peers import run_suite
from tests.support.http import Http


def test_the_cache_passes_the_tests_that_cachelib_has_for_every_cache(
    http: Http, tmp_path: Path
) -> None:
    run_suite("cachelib", tmp_path, "jetkv_cachelib.py", http.url, "jetkv_cachelib.py", least=100)
