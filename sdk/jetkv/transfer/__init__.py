"""Moves keys from buckets to files, back, and from one bucket to another (docs/transfer.md).

`jetkv export`, `import` and `copy` are built on it.
"""
