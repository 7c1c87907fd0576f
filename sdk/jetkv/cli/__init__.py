"""The command line `jetkv`."""
