#!/bin/sh
# First machine: a Kubernetes control plane by kubeadm, with flannel as the pods' network.
# Needs /etc/lab/kubeadm.json and /etc/lab/flannel.yaml; does nothing where both were applied before.
set -eu
export KUBECONFIG=/etc/kubernetes/admin.conf
done=/etc/kubernetes/lab-initialised
wanted=$(cat /etc/lab/kubeadm.json /etc/lab/flannel.yaml | sha256sum)
[ "$(cat $done 2>/dev/null)" = "$wanted" ] && exit 0

# An initialisation that was cut off leaves files that the next one refuses.
if [ ! -f $done ]; then
  [ -z "$(ls /etc/kubernetes/manifests)" ] || kubeadm reset --force >/dev/null 2>&1
  /usr/local/lib/lab/with-kubelet kubeadm init --config /etc/lab/kubeadm.json
fi
# Before CoreDNS' pods can run anywhere: one is enough for a lab, and it is asked every second
# whether it is ready, not every ten.
kubectl --namespace kube-system patch deployment coredns --patch '
  {"spec": {"replicas": 1, "template": {"spec": {"containers": [
    {"name": "coredns", "readinessProbe": {"periodSeconds": 1}}]}}}}'
kubectl apply --filename /etc/lab/flannel.yaml
echo "$wanted" >$done
