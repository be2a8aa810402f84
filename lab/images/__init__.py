"""Images of machines, of the cluster and of the exercises."""
