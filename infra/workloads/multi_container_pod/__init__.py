"""Exercise `multi-container-pod`."""
