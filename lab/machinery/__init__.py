"""The components of Kubernetes at work: their time line, and what goes on without one of them."""
