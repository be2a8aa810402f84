#!/bin/sh
# Every machine: start k3s with /etc/rancher/k3s/config.yaml. $1 is the unit, k3s or k3s-agent.
set -eu
# The network card with this machine's address in the lab: never Vagrant's own, behind NAT.
address=$(sed -n 's/.*"node-ip": "\([0-9.]*\)".*/\1/p' /etc/rancher/k3s/config.yaml)
card=$(ip -o -4 address | awk -v address="$address" 'index($4, address "/") == 1 { print $2; exit }')
sed -i "s/@CARD@/$card/" /etc/rancher/k3s/config.yaml
. /run/lab/kubelet.env
sed -i "s#@KUBELET_ARGS@#${LAB_KUBELET_ARGS#--}#" /etc/rancher/k3s/config.yaml
sed -i 's#"@KUBELET_ARGS@",##; s#"",##' /etc/rancher/k3s/config.yaml

# Without CAP_SYS_RESOURCE (bit 24) nothing may lower an OOM score: k3s' containerd must not try.
bounding=$(awk '/^CapBnd/ { print $2 }' /proc/self/status)
if [ $((0x$bounding >> 24 & 1)) = 0 ]; then
  containerd=/var/lib/rancher/k3s/agent/etc/containerd
  mkdir -p $containerd/config-v3.toml.d
  cp /etc/lab/k3s-containerd.toml.tmpl $containerd/config.toml.tmpl
  printf '[plugins."io.containerd.cri.v1.runtime"]\nrestrict_oom_score_adj = true\n' \
    >$containerd/config-v3.toml.d/lab.toml
fi
systemctl enable --quiet "$1"
systemctl restart "$1"
