"""Exercise `statefulset`."""
