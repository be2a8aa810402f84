"""The exercises: one folder each, with program, text, manifests and checks."""
