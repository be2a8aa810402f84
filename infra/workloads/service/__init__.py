"""Exercise `service`."""
