"""The MNIST homework: the same training by Docker, by Singularity and as a Job, and what it took.

`data` and `image` make what is run, `runs` runs it, `metrics` is what a run writes down.
"""
