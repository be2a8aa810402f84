"""Exercise `volumes`."""
