"""A lab from lab-up to lab-destroy."""
