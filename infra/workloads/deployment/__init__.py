"""Exercise `deployment`."""
