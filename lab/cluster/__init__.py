"""A running cluster: its objects, its health, its registry, its stacks."""
