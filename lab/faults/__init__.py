"""Deliberate faults: stopped components and cut networks."""
