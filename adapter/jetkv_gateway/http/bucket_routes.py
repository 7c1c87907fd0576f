"""The routes for buckets as a whole."""

from jetkv_gateway.http.route_parts import BUCKET, BUCKETS, FILTERED, FLAG, json_answer
from jetkv_gateway.http.router import Answer, Parameter, Route
from jetkv_gateway.kv.access import Verb

__all__ = ["BUCKET_ROUTES"]

_CHANGE = (
    Parameter(
        "dry_run", "Answer as the request would be answered, with 200, and change nothing", FLAG
    ),
    Parameter("allow_data_loss", "Change the bucket even if that removes stored data", FLAG),
)

BUCKET_ROUTES: tuple[Route, ...] = (
    Route(
        "create_bucket",
        "POST",
        BUCKETS,
        Verb.CREATE_BUCKET,
        "Create a bucket. An unknown field is refused with 400.",
        "Buckets",
        answers={201: json_answer("The bucket", "BucketOut")},
        error_statuses=(409, 413, 429, 501, 503, 504, 507),
        body={"application/json": "BucketCreate"},
    ),
    Route(
        "list_buckets",
        "GET",
        BUCKETS,
        Verb.LIST_BUCKETS,
        "List all buckets, sorted by name",
        "Buckets",
        answers={200: json_answer("The buckets", "BucketList", FILTERED)},
        error_statuses=(503, 504),
    ),
    Route(
        "get_bucket",
        "GET",
        BUCKET,
        Verb.BUCKET_INFO,
        "Read the settings and the size of a bucket",
        "Buckets",
        answers={200: json_answer("The bucket", "BucketOut", FILTERED)},
        error_statuses=(404, 409, 503, 504),
    ),
    Route(
        "put_bucket",
        "PUT",
        BUCKET,
        Verb.CHANGE_BUCKET,
        "Create a bucket, or give the one that exists the settings that are named",
        "Buckets",
        parameters=_CHANGE,
        answers={
            200: json_answer("The bucket as it is now, and what was changed", "BucketChanged"),
            201: json_answer("The bucket was created", "BucketChanged"),
        },
        error_statuses=(409, 413, 429, 501, 503, 504, 507),
        body={"application/json": "BucketPatch"},
    ),
    Route(
        "patch_bucket",
        "PATCH",
        BUCKET,
        Verb.CHANGE_BUCKET,
        "Give a bucket the settings that are named",
        "Buckets",
        parameters=_CHANGE,
        answers={
            200: json_answer("The bucket as it is now, and what was changed", "BucketChanged")
        },
        error_statuses=(404, 409, 413, 429, 501, 503, 504, 507),
        body={"application/json": "BucketPatch"},
    ),
    Route(
        "delete_bucket",
        "DELETE",
        BUCKET,
        Verb.DELETE_BUCKET,
        "Delete a bucket with all its keys and their history",
        "Buckets",
        answers={204: Answer("Deleted")},
        error_statuses=(404, 409, 503, 504),
    ),
)
