"""The only place that knows NATS: connection, requests, and the KV layer on the JetStream API."""
