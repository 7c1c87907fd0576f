"""Attacks on a gateway, and what a well-behaved client sees meanwhile."""
