"""The error of a setting."""

from jetkv_gateway.serving.options import CannotStart

__all__ = ["SettingsError"]


class SettingsError(CannotStart):
    """Raised for unusable settings. The text is one line for the operator."""
