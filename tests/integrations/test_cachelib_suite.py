"""cachelib's own tests."""

from pathlib import Path

from tests.integrations.peers import run_suite
from tests.support.http import Http


def test_the_cache_passes_the_tests_that_cachelib_has_for_every_cache(
    http: Http, tmp_path: Path
) -> None:
    ours = "jetkv_cachelib.py"
    # Some tests wait for values to expire.
    run_suite("cachelib", tmp_path, ours, http.url, "-n", "4", ours, least=93)
