"""Watches of buckets that keep history."""

import pytest

from tests.support.http import Bucket


@pytest.fixture
def bucket(make_bucket) -> Bucket:
    """A bucket that keeps history: with one revision a key, a fast second write hides the first."""
    return make_bucket(history=20)
