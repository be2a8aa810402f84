"""What goes on in a lab: status, logs, the time line of a Deployment."""
