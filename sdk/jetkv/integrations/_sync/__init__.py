"""The sync recipes, made from `_async`."""
