"""The least that Python needs for the gateway's work: what a ratio to it shows is ours to win."""
