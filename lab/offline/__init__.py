"""Bundles: everything in one folder, verified, listed and served."""
