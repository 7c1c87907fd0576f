"""Finds out who the caller is: tokens of a file and of a bucket, and the tickets of browsers."""
