#!/bin/sh
# First machine: the lab's image registry.
set -eu
systemctl enable --now --quiet lab-registry.service
