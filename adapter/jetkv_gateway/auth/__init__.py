"""Finds out who calls: tokens of a file and of a bucket, and the tickets of browsers."""
