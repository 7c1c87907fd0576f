"""The async recipes. `_sync` is made from them by `make format`."""
