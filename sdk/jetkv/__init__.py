"""jetkv: key-value buckets on NATS JetStream over HTTP."""

from jetkv._version import __version__

__all__ = ["__version__"]
