"""A server of the Model Context Protocol: language models read buckets, and write if you allow it.

`jetkv mcp` runs it, over stdio or over HTTP on loopback (docs/mcp.md). It needs the extra `mcp`.
"""
