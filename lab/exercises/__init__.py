"""The exercises: their catalogue, what tasks do with them, grading, wrong answers."""
