"""What happens in the gateway, and who listens to it: metrics and logs."""
