"""The language of the gateway: keys, filters, entries, buckets, errors, the Store protocol.

Nothing in this package does I/O or knows HTTP or NATS beyond the names of subjects.
"""
