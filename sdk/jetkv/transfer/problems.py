"""The errors of exports, imports and copies."""

from jetkv.errors import BucketUnsuitableError, JetKVError, PreconditionFailedError

__all__ = ["FileDamagedError", "TargetConflictError", "TargetUnsuitableError"]


class FileDamagedError(JetKVError):
    """Raised for a file that is no whole export: cut off, edited, or something else."""


class TargetUnsuitableError(BucketUnsuitableError):
    """Raised for a bucket whose settings cannot take what is to be written."""


class TargetConflictError(PreconditionFailedError):
    """Raised for a key that has another value already, with the policy `fail`."""
