"""Fuzzing of all that reads bytes of strangers: `make fuzz`, and a part of it in `make test`."""
