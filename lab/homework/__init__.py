"""The MNIST homework: the same training by Docker, by Singularity and as a Job, and what it took.

`data` and `image` make the data set and the images, `runs` starts a training, `metrics` reads the
document that a training writes.
"""
