"""The jetkv gateway: the Ironflow KV API over HTTP, carried out by NATS JetStream."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("jetkv")
except PackageNotFoundError:  # run from a source tree that was never installed
    __version__ = "0+unknown"
