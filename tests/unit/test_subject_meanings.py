"""What a subject of NATS means to a caller who knows buckets and keys."""

import pytest

from jetkv_gateway.jetstream.subject_meanings import meaning_of


@pytest.mark.parametrize(
    ("subject", "meaning"),
    [
        ("$KV.b.a.b", "write or delete in bucket b"),
        ("$JS.hub.API.$KV.b.k", "write or delete in bucket b"),
        ("$JS.API.STREAM.MSG.GET.KV_b", "read in bucket b"),
        ("$JS.API.DIRECT.GET.KV_b.$KV.b.k", "read in bucket b"),
        ("$JS.API.CONSUMER.CREATE.KV_b.x", "list or watch keys in bucket b"),
        ("$JS.API.CONSUMER.MSG.NEXT.KV_b.x", "list or watch keys in bucket b"),
        ("$JS.API.STREAM.CREATE.KV_b", "create bucket b"),
        ("$JS.API.STREAM.NAMES", "list buckets"),
        ("$JS.API.INFO", "a part of this request"),
    ],
)
def test_a_subject_has_a_meaning(subject: str, meaning: str) -> None:
    assert meaning_of(subject) == meaning
