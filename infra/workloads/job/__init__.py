"""Exercise `job`."""
