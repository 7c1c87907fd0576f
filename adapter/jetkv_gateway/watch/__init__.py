"""Watches: what one session is owed, and the hub that feeds many from one. Knows kv/, no NATS."""
