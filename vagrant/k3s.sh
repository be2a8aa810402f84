#!/bin/sh
# Every machine: start k3s with /etc/rancher/k3s/config.yaml. $1 is the unit, k3s or k3s-agent,
# and $2 how many seconds it may take to say that it is ready.
set -eu
unit=$1
limit=$2
state=/var/lib/rancher/k3s/agent
containerd=$state/etc/containerd

# The network card with this machine's address in the lab: never Vagrant's own, behind NAT.
config=/etc/rancher/k3s/config.yaml
address=$(sed -n 's/.*"node-ip": "\([0-9.]*\)".*/\1/p' $config)
card=$(ip -o -4 address | awk -v address="$address" 'index($4, address "/") == 1 { print $2; exit }')
. /run/lab/cgroups.env
sed -i -e "s/@CARD@/$card/" -e "s#@KUBELET_ARGS@#${LAB_KUBELET_ARGS#--}#" -e '/^ *"",$/d' $config
# What every pod begins with is k3s' own, where k3s came with its images.
! ls $state/images/*.tar* >/dev/null 2>&1 || sed -i '/^ *"pause-image"/d' $config

start() {
  timeout "$limit" systemctl restart "$unit" && return
  journalctl --unit "$unit" --lines 15 --no-pager --output cat >&2
  exit 1
}

rm -f $containerd/config*.toml $containerd/config*.toml.tmpl
systemctl enable --quiet "$unit"
start

# Without CAP_SYS_RESOURCE (bit 24) nothing may lower an OOM score, and containerd must not try. k3s
# has no setting for that: its own configuration, of whatever version, becomes the template of the next.
bounding=$(awk '/^CapBnd/ { print $2 }' /proc/self/status)
[ $((0x$bounding >> 24 & 1)) = 0 ] || exit 0
tries=600
until grep -q 'runtimes' $containerd/config.toml 2>/dev/null; do
  tries=$((tries - 1))
  [ $tries -gt 0 ] || { echo "k3s did not write $containerd/config.toml" >&2; exit 1; }
  sleep 0.2
done
template=config.toml.tmpl
! grep -q '^version = 3' $containerd/config.toml || template=config-v3.toml.tmpl
/usr/local/lib/lab/restrict-oom <$containerd/config.toml >$containerd/$template
start
