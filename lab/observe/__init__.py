"""Observe a lab: its status, its logs, and the time line of a Deployment."""
