"""Hypothesis for the pure tests: a busy machine is no finding."""

from hypothesis import settings

settings.register_profile("unit", parent=settings(), deadline=None)
settings.load_profile("unit")
