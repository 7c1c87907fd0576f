"""The contract over HTTP: routes, views, preconditions, error bodies, who may come in."""
