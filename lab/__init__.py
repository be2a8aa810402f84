"""The Kubernetes lecture lab: machines, cluster, exercises and checks behind `tasks.py`."""
