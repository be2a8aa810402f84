"""Exercise `machinery`."""
