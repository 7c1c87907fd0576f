"""Sockets, HTTP/1.1, WebSockets, processes, and admission of requests."""
