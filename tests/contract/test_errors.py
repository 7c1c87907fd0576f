"""Errors (docs/http-api.md#errors): one body for all of them, from a bad header to broken HTTP."""

import json
import re

import pytest

from jetkv_gateway.embedded import NatsServer
from jetkv_gateway.kv.access import Principal
from tests.support.gateway import running_gateway
from tests.support.http import BUCKETS, Answer, Bucket, Http
from tests.support.raw import Wire
from tests.support.scopes import ScopesAreTokens

NOBODY = "/api/v1/kv/buckets/no-such-bucket"


def failed(answer: Answer) -> tuple[int, str, str]:
    """(status, error, code), once the rest of the body is what every error has."""
    body = answer.json
    assert answer.headers["content-type"] == "application/json"
    assert body["request_id"] == answer.headers["x-request-id"]
    assert isinstance(body["retryable"], bool)
    known = {"error", "code", "retryable", "request_id", "hint", "details", "retry_after"}
    assert body.keys() <= known
    assert None not in body.values()
    return answer.status, body["error"], body["code"]


# --- the table


@pytest.mark.parametrize(
    ("method", "path", "status", "error", "code"),
    [
        ("GET", "/nope", 404, "route not found", "not_found"),
        ("PUT", "/nope", 404, "route not found", "not_found"),
        ("GET", "/", 404, "route not found", "not_found"),
        ("GET", "/api/v1/kv", 404, "route not found", "not_found"),
        ("OPTIONS", "/nope", 404, "route not found", "not_found"),
        ("GET", f"{BUCKETS}/", 404, "route not found", "not_found"),
        ("GET", NOBODY, 404, "bucket not found", "not_found"),
        ("DELETE", NOBODY, 404, "bucket not found", "not_found"),
        ("GET", f"{NOBODY}/keys", 404, "bucket not found", "not_found"),
        ("GET", f"{NOBODY}/keys/k", 404, "bucket not found", "not_found"),
        ("PUT", f"{NOBODY}/keys/k", 404, "bucket not found", "not_found"),
        ("DELETE", f"{NOBODY}/keys/k", 404, "bucket not found", "not_found"),
        ("DELETE", f"{NOBODY}/keys/k?purge=true", 404, "bucket not found", "not_found"),
        ("GET", f"{NOBODY}/history/k", 404, "bucket not found", "not_found"),
        ("GET", f"{BUCKETS}/a.b", 400, "invalid bucket name", "invalid_argument"),
        ("PUT", f"{BUCKETS}/a.b/keys/k", 400, "invalid bucket name", "invalid_argument"),
        ("PUT", f"{NOBODY}/keys/", 400, "invalid key: empty", "invalid_argument"),
        ("POST", NOBODY, 405, "method not allowed", "invalid_argument"),
    ],
)
def test_a_failure_has_its_status_text_and_code(
    http: Http, method: str, path: str, status: int, error: str, code: str
) -> None:
    assert failed(http.request(method, path)) == (status, error, code)


@pytest.mark.parametrize(
    ("headers", "status", "error", "code"),
    [
        ({"If_None_Match": "*"}, 412, "key already exists", "failed_precondition"),
        ({"If_Match": "9"}, 412, "revision mismatch", "failed_precondition"),
    ],
)
def test_a_failed_precondition_names_the_revision_that_stands(
    bucket: Bucket, headers: dict[str, str], status: int, error: str, code: str
) -> None:
    bucket.put("k", "v")
    answer = bucket.put("k", "w", **headers)
    assert failed(answer) == (status, error, code)
    assert answer.json["details"] == {"current_revision": 1}
    assert answer.json["retryable"] is False


def test_a_defect_is_500_and_its_traceback_is_in_the_log_under_the_request_id(
    nats: NatsServer, bucket: Bucket, capsys: pytest.CaptureFixture[str]
) -> None:
    class Broken(ScopesAreTokens):
        def authenticate(self, authorization: bytes | None) -> Principal:
            raise RuntimeError("a secret of the gateway")

    with running_gateway(nats.url, authenticator=Broken()) as http:
        for path in (bucket.key("k"), bucket.path, BUCKETS, f"{bucket.path}/history/k"):
            answer = http.get(path)
            assert failed(answer) == (500, "internal error", "internal")
            assert b"secret" not in answer.body
            log = capsys.readouterr().err
            assert f"request {answer.headers['x-request-id']} failed" in log
            assert log.count("RuntimeError: a secret of the gateway") == 1


# --- request ids


@pytest.mark.parametrize("path", ["/health", "/nope", NOBODY, f"{NOBODY}/keys/k"])
def test_every_answer_has_a_request_id_of_its_own(http: Http, path: str) -> None:
    ids = [http.get(path).headers["x-request-id"] for _ in range(3)]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]{8,128}", request_id) for request_id in ids)
    assert len(set(ids)) == 3


@pytest.mark.parametrize(
    "sane", ["abc", "7b1c4a2e-90f1-4b8e-9d8a-1c2d3e4f5a6b", "A.b_c-1", "x" * 128]
)
@pytest.mark.parametrize("path", ["/health", f"{NOBODY}/keys/k"])
def test_a_sane_request_id_of_the_caller_is_kept(http: Http, path: str, sane: str) -> None:
    answer = http.get(path, X_Request_Id=sane)
    assert answer.headers["x-request-id"] == sane
    if answer.status != 200:
        assert answer.json["request_id"] == sane


@pytest.mark.parametrize("insane", ["", "a b", "x" * 129, "<script>", "a,b", "é", "a\tb", '"'])
def test_any_other_request_id_is_replaced(http: Http, insane: str) -> None:
    answer = http.get(f"{NOBODY}/keys/k", X_Request_Id=insane)
    assert answer.json["request_id"] == answer.headers["x-request-id"] != insane


# --- methods


@pytest.mark.parametrize(
    ("path", "methods", "allow"),
    [
        (BUCKETS, ["PUT", "DELETE", "PATCH"], "GET, HEAD, POST, OPTIONS"),
        (f"{BUCKETS}/b", ["POST"], "GET, HEAD, PUT, PATCH, DELETE, OPTIONS"),
        (f"{BUCKETS}/b/keys", ["PUT", "POST", "PATCH"], "GET, HEAD, DELETE, OPTIONS"),
        (
            f"{BUCKETS}/b/keys/k",
            ["POST", "PATCH", "TRACE", "PROPFIND"],
            "GET, HEAD, PUT, DELETE, OPTIONS",
        ),
        (f"{BUCKETS}/b/history/k", ["PUT", "DELETE"], "GET, HEAD, OPTIONS"),
        ("/health", ["POST", "DELETE"], "GET, HEAD, OPTIONS"),
        ("/api/v1/openapi.json", ["POST"], "GET, HEAD, OPTIONS"),
    ],
)
def test_a_method_that_a_route_does_not_have_is_405_with_those_it_has(
    http: Http, path: str, methods: list[str], allow: str
) -> None:
    for method in methods:
        answer = http.request(method, path)
        assert failed(answer) == (405, "method not allowed", "invalid_argument")
        assert answer.headers["allow"] == allow
        assert answer.json["hint"] == f"allowed here: {allow}"
    options = http.request("OPTIONS", path)
    assert (options.status, options.headers["allow"]) == (204, allow)


# --- invalid preconditions


@pytest.mark.parametrize(
    "value",
    [
        "",
        " ",
        "0",
        '"0"',
        "-1",
        "+1",
        "1.0",
        "01",
        "0x1",
        "1e3",
        "*",
        '"*"',
        "W/1",
        'W/"1"',
        "abc",
        '"7',
        '7"',
        "''",
        "'7'",
        "7, 8",
        '"7", "8"',
        "7 8",
        "7,8",
        "7;",
        "٧",
        "11111111111111111111",
    ],
)
@pytest.mark.parametrize("method", ["PUT", "DELETE", "GET"])
def test_an_if_match_that_is_no_single_revision_is_400(
    bucket: Bucket, method: str, value: str
) -> None:
    bucket.put("k", "v")
    sent = value.encode().decode("latin-1")
    answer = bucket.http.request(method, bucket.key("k"), b"w", If_Match=sent)
    error = "invalid If-Match: must be one decimal revision of at most 19 digits, from 1"
    assert failed(answer) == (400, error, "invalid_argument")
    assert bucket.get("k").json["revision"] == 1


@pytest.mark.parametrize("value", ["", "1", '"1"', 'W/"1"', "true", "**", "*, *", '"*"', '"1", *'])
def test_an_if_none_match_on_a_put_other_than_a_star_is_400(bucket: Bucket, value: str) -> None:
    answer = bucket.put("k", "v", If_None_Match=value)
    error = "invalid If-None-Match: must be * on PUT"
    assert failed(answer) == (400, error, "invalid_argument")
    assert bucket.get("k").status == 404


@pytest.mark.parametrize("value", ["", "1", '"1', "'1'", "*, *", '"1" "2"', 'w/"1"', ", "])
def test_an_if_none_match_on_a_get_that_is_no_list_of_tags_is_400(
    bucket: Bucket, value: str
) -> None:
    bucket.put("k", "v")
    answer = bucket.get("k", If_None_Match=value)
    error = 'invalid If-None-Match: must be a list of tags like "7"'
    assert failed(answer) == (400, error, "invalid_argument")


@pytest.mark.parametrize("value", ["*", '"1"', "1"])
def test_an_if_none_match_on_a_delete_is_400(bucket: Bucket, value: str) -> None:
    bucket.put("k", "v")
    answer = bucket.delete("k", If_None_Match=value)
    error = "If-None-Match has no meaning on DELETE"
    assert failed(answer) == (400, error, "invalid_argument")
    assert bucket.get("k").status == 200


def test_both_preconditions_at_once_are_400(bucket: Bucket) -> None:
    answer = bucket.put("k", "v", If_Match="1", If_None_Match="*")
    error = "If-Match and If-None-Match exclude each other"
    assert failed(answer) == (400, error, "invalid_argument")


@pytest.mark.parametrize(
    ("method", "lines"),
    [
        ("PUT", ["If-Match: 1", "If-Match: 1"]),
        ("PUT", ["If-Match: 1", "if-match: 2"]),
        ("PUT", ["If-None-Match: *", "If-None-Match: *"]),
        ("DELETE", ["If-Match: 1", "If-Match: 1"]),
        ("GET", ["If-Match: 1", "If-Match: 1"]),
    ],
)
def test_a_precondition_given_twice_is_400(bucket: Bucket, method: str, lines: list[str]) -> None:
    bucket.put("k", "v")
    with Wire(bucket.http) as wire:
        answer = wire.request(method, bucket.key("k"), *lines)
    assert (answer.status, answer.json["code"]) == (400, "invalid_argument")
    assert bucket.get("k").json["revision"] == 1


def test_a_list_of_tags_over_two_lines_is_one_list(bucket: Bucket) -> None:
    bucket.put("k", "v")
    with Wire(bucket.http) as wire:
        lines = ['If-None-Match: "7"', 'If-None-Match: "1"']
        assert wire.request("GET", bucket.key("k"), *lines).status == 304


# --- queries


@pytest.mark.parametrize(
    ("method", "path", "error"),
    [
        ("GET", "/keys/k?purge=true", "unknown query parameter 'purge'"),
        ("PUT", "/keys/k?purge=true", "unknown query parameter 'purge'"),
        ("PUT", "/keys/k?values=raw", "unknown query parameter 'values'"),
        ("DELETE", "/keys/k?revision=1", "unknown query parameter 'revision'"),
        ("DELETE", "/keys/k?Purge=true", "unknown query parameter 'Purge'"),
        ("DELETE", "/keys/k?purge=1", "query parameter 'purge' must be true or false"),
        ("DELETE", "/keys/k?purge=TRUE", "query parameter 'purge' must be true or false"),
        ("DELETE", "/keys/k?purge", "query parameter 'purge' must be true or false"),
        ("DELETE", "/keys/k?purge=true&purge=true", "query parameter 'purge' is given twice"),
        ("DELETE", "/keys/k?purge=true;x", "query parameter 'purge' must be true or false"),
        (
            "GET",
            "/keys/k?revision=0",
            "invalid revision: must be one decimal revision of at most 19 digits, from 1",
        ),
        (
            "GET",
            "/keys/k?revision=-1",
            "invalid revision: must be one decimal revision of at most 19 digits, from 1",
        ),
        (
            "GET",
            "/keys/k?revision=01",
            "invalid revision: must be one decimal revision of at most 19 digits, from 1",
        ),
        (
            "GET",
            "/keys/k?revision=1.0",
            "invalid revision: must be one decimal revision of at most 19 digits, from 1",
        ),
        (
            "GET",
            "/keys/k?revision=%22",
            "invalid revision: must be one decimal revision of at most 19 digits, from 1",
        ),
        (
            "GET",
            "/keys/k?revision=",
            "invalid revision: must be one decimal revision of at most 19 digits, from 1",
        ),
        (
            "GET",
            f"/keys/k?revision={10**19}",
            "invalid revision: must be one decimal revision of at most 19 digits, from 1",
        ),
        (
            "GET",
            "/keys/k?consistency=weak",
            "query parameter 'consistency' must be strong or eventual",
        ),
        (
            "GET",
            "/keys/k?consistency",
            "query parameter 'consistency' must be strong or eventual",
        ),
        ("GET", "/keys/k?%FF=1", "invalid query: not valid UTF-8"),
        ("GET", "/keys/k?&", "invalid query '&'"),
        ("GET", "?x=1", "unknown query parameter 'x'"),
        ("DELETE", "?force=true", "unknown query parameter 'force'"),
        ("GET", "/keys?prefixes=a", "unknown query parameter 'prefixes'"),
    ],
)
def test_a_bad_query_is_400_naming_the_parameter_and_does_nothing(
    bucket: Bucket, method: str, path: str, error: str
) -> None:
    bucket.put("k", "v")
    answer = bucket.http.request(method, bucket.path + path)
    assert failed(answer) == (400, error, "invalid_argument")
    assert bucket.get("k").json["revision"] == 1


@pytest.mark.parametrize(
    "path", [BUCKETS, "/health", "/ready", "/api/v1/capabilities", "/api/v1/openapi.json", "/docs"]
)
def test_a_query_is_refused_where_a_route_has_none(http: Http, path: str) -> None:
    error = "unknown query parameter 'x'"
    assert failed(http.get(f"{path}?x=1")) == (400, error, "invalid_argument")


def test_a_create_with_a_query_is_400(http: Http, bucket_name: str) -> None:
    answer = http.post(f"{BUCKETS}?history=5", {"name": bucket_name})
    assert failed(answer)[:2] == (400, "unknown query parameter 'history'")
    assert http.get(f"{BUCKETS}/{bucket_name}").status == 404


def test_the_hint_for_an_unknown_parameter_says_how_a_question_mark_is_sent(
    bucket: Bucket,
) -> None:
    answer = bucket.http.get(f"{bucket.path}/keys/what?now")
    assert answer.json["hint"] == (
        "known parameters: consistency, revision, values; send the ? of a key as %3F"
    )


@pytest.mark.parametrize("name", ["JetKV-Unheard-Of", "jetkv-consistency"])
def test_a_header_of_ours_that_does_not_exist_is_400(bucket: Bucket, name: str) -> None:
    answer = bucket.put("k", "v", **{name: "1"})
    assert failed(answer)[:2] == (400, f"unknown header '{name.lower()}'")
    assert bucket.get("k").status == 404


def test_error_texts_quote_the_caller_only_in_part(bucket: Bucket) -> None:
    answer = bucket.http.get(f"{bucket.path}/keys/k?{'x' * 5000}=1")
    assert len(json.dumps(answer.json)) < 1000
