"""Feature flags: the flags of one bucket, kept current by one watch (docs/flags.md)."""
