"""What stands in `deploy/`, looked at with the tools of those who run it.

These tests run only where they are asked for by path, `make test-deploy`, since they need packages
of Debian, systemd, prometheus and caddy, and what requirements/deploy.txt names. `.ci/run` installs
both.
"""

from pathlib import Path

import pytest

HERE = Path(__file__).parent
DEPLOY = HERE.parent.parent / "deploy"


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    start = config.invocation_params.dir
    asked = [(start / argument.partition("::")[0]).resolve() for argument in config.args]
    return None if any(path.is_relative_to(HERE) for path in asked) else True
