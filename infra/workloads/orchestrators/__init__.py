"""Exercise `orchestrators`."""
