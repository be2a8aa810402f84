"""Exercise `ingress`."""
