"""The API over HTTP (docs/http-api.md): routes, views, preconditions, errors, who may call."""
