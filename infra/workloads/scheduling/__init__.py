"""Exercise `scheduling`."""
