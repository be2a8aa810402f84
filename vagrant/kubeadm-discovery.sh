#!/bin/sh
# First machine: print what workers recognise the cluster by, the digest of the CA's public key as
# kubeadm's --discovery-token-ca-cert-hash documents it.
set -eu
# A worker that asks before the controller manager has signed the cluster's address asks again only
# after five seconds.
tries=300
until kubectl --kubeconfig /etc/kubernetes/admin.conf --namespace kube-public \
  get configmap cluster-info --output yaml | grep -q jws-kubeconfig; do
  tries=$((tries - 1))
  [ $tries -gt 0 ] || { echo 'the cluster-info ConfigMap was not signed' >&2; exit 1; }
  sleep 0.1
done
openssl x509 -pubkey -noout -in /etc/kubernetes/pki/ca.crt |
  openssl pkey -pubin -outform der | sha256sum | cut -d ' ' -f 1
