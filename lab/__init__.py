"""The Kubernetes lecture lab: machines, cluster, exercises and checks behind `tasks.py`."""

import logging

# python-vagrant warns at its import where Vagrant is missing, which lab-up is about to install.
logging.getLogger("vagrant").addHandler(logging.NullHandler())
