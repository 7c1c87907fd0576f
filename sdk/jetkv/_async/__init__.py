"""The async client. `make format` makes `_sync` from it, except `transport` and `runtime`."""
