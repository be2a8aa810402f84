"""Exercise `namespace`."""
