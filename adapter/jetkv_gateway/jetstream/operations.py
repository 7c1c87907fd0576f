"""The operations of JetStream as metrics name them. Pure."""

__all__ = ["OPERATIONS", "OPERATION_LETTERS"]

OPERATION_LETTERS = 10
OPERATIONS = {
    verb[:OPERATION_LETTERS]: operation
    for verb, operation in (
        ("STREAM.MSG.GET", "get"),
        ("STREAM.INFO", "stream_info"),
        ("STREAM.LIST", "stream_list"),
        ("STREAM.NAMES", "stream_list"),
        ("STREAM.CREATE", "stream_create"),
        ("STREAM.UPDATE", "stream_update"),
        ("STREAM.DELETE", "stream_delete"),
        ("STREAM.PURGE", "stream_purge"),
        ("CONSUMER.CREATE", "consumer_create"),
        ("CONSUMER.DELETE", "consumer_delete"),
        ("CONSUMER.INFO", "consumer_info"),
        ("INFO", "account_info"),
    )
}
"""The label `operation`, by the first letters of a verb of the API."""
