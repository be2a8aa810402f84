"""Exercise `rollout`."""
