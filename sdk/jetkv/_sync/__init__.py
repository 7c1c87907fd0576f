"""The sync client, made from `_async`, but for the drivers `transport` and `runtime`."""
