"""What is broken on purpose: components stopped, networks cut."""
