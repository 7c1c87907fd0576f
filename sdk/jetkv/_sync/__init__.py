"""The sync client. `make format` makes most of it from `_async`; the transport is its own."""
