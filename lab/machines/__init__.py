"""Machines: the one seam between the lab and what runs it, which is Vagrant."""
