"""What both clients share, without I/O: requests, answers, when to try again, watches."""
