"""This computer: its facts, its missing prerequisites, and the choices of lab-up for it."""
