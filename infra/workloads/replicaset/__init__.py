"""Exercise `replicaset`."""
