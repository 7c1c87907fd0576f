"""Buckets behind the interfaces of other libraries: caches, sessions and stores.

Each module needs its library and an extra, such as `jetkv[cachelib]`. Importing this package
imports none of them. docs/integrations.md says what each of them keeps and loses.
"""
