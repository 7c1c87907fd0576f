"""The async client. `_sync` is made from it by `make format`, but for the drivers."""
