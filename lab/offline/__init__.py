"""Bundles: make, verify, list and serve one folder with everything that a lab needs."""
