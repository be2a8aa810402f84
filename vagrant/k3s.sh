#!/bin/sh
# Every machine: start k3s with /etc/rancher/k3s/config.yaml. $1 is the unit, k3s or k3s-agent.
set -eu
# The network card with this machine's address in the lab: never Vagrant's own, behind NAT.
config=/etc/rancher/k3s/config.yaml
address=$(sed -n 's/.*"node-ip": "\([0-9.]*\)".*/\1/p' $config)
card=$(ip -o -4 address | awk -v address="$address" 'index($4, address "/") == 1 { print $2; exit }')
. /run/lab/kubelet.env
sed -i -e "s/@CARD@/$card/" -e "s#@KUBELET_ARGS@#${LAB_KUBELET_ARGS#--}#" -e '/^ *"",$/d' $config

# Without CAP_SYS_RESOURCE (bit 24) nothing may lower an OOM score: k3s' containerd must not try.
# Since 1.33 it reads drop-ins; before, its whole template has to be replaced.
bounding=$(awk '/^CapBnd/ { print $2 }' /proc/self/status)
if [ $((0x$bounding >> 24 & 1)) = 0 ]; then
  containerd=/var/lib/rancher/k3s/agent/etc/containerd
  minor=$(k3s --version | sed -n 's/^k3s version v1\.\([0-9]*\)\..*/\1/p')
  mkdir -p $containerd/config-v3.toml.d
  if [ "$minor" -ge 33 ]; then
    printf '[plugins."io.containerd.cri.v1.runtime"]\nrestrict_oom_score_adj = true\n' \
      >$containerd/config-v3.toml.d/lab.toml
  else
    cp /etc/lab/k3s-containerd.toml.tmpl $containerd/config.toml.tmpl
  fi
fi
systemctl enable --quiet "$1"
systemctl restart "$1"
