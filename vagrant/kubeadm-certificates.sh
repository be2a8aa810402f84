#!/bin/sh
# First machine: lay the cluster's CAs and keys into the cluster for two hours, encrypted with the key
# of /etc/lab/kubeadm.json, for control planes that are about to join.
set -eu
kubeadm init phase upload-certs --upload-certs --config /etc/lab/kubeadm.json >/dev/null
