"""The images of the exercises: the lecture's names, at versions that every lab has."""

BUSYBOX = "busybox:1.37"
NGINX = "nginx:1.26"
# Built by `invoke mnist-up`.
MNIST = "registry.lab:5000/mnist"
