"""How bytes come in and answers go out: sockets, HTTP/1.1, WebSockets, processes, and who waits."""
