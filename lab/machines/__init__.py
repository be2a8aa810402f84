"""The lab's machines: containers or virtual machines, through Vagrant."""
