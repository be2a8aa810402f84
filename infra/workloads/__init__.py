"""The exercises: a folder each, with program, text, manifests and checks."""
