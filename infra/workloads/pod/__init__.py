"""Exercise `pod`."""
