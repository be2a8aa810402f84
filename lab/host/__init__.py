"""This computer: what it has, what it lacks, what lab-up chooses for it."""
