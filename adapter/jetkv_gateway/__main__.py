"""`python -m jetkv_gateway` is `jetkv`."""

from jetkv_gateway.main import main

main()
