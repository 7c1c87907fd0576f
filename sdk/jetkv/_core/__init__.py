"""The part of the SDK that both clients share, without I/O: requests, answers, retries, watches."""
