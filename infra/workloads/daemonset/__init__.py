"""Exercise `daemonset`."""
