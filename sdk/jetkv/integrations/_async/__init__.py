"""The async recipes. `make format` makes `_sync` from them."""
