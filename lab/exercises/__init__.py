"""The exercises: their catalogue, deployment, checks, grades and mutants."""
