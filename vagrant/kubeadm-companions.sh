#!/bin/sh
# First machine: make ready for control planes that are about to join. Needs /etc/lab/kubeadm.json.
set -eu
export KUBECONFIG=/etc/kubernetes/admin.conf
config=/etc/lab/kubeadm.json
# The only control plane is not elected, but one of several: what they read in the cluster, and what
# this machine runs, is as if there had been several from the beginning.
kubeadm init phase upload-config kubeadm --config $config >/dev/null
kubeadm init phase control-plane controller-manager --config $config >/dev/null
kubeadm init phase control-plane scheduler --config $config >/dev/null
leases='lease kube-controller-manager kube-scheduler'
until kubectl --namespace kube-system get $leases >/dev/null 2>&1; do sleep 1; done
# The cluster's CAs and keys lie in the cluster for two hours, encrypted with the key of that file.
kubeadm init phase upload-certs --upload-certs --config $config >/dev/null
