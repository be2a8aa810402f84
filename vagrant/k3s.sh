#!/bin/sh
# Every machine: start k3s with /etc/rancher/k3s/config.yaml. $1 is the unit, k3s or k3s-agent,
# and $2 how many seconds it may take to say that it is ready.
set -eu
unit=$1
limit=$2
state=/var/lib/rancher/k3s
containerd=$state/agent/etc/containerd

# The network card with this machine's address in the lab: never Vagrant's own, behind NAT.
config=/etc/rancher/k3s/config.yaml
address=$(sed -n 's/.*"node-ip": "\([0-9.]*\)".*/\1/p' $config)
card=$(ip -o -4 address | awk -v address="$address" 'index($4, address "/") == 1 { print $2; exit }')
. /run/lab/cgroups.env
arguments=
for argument in $LAB_K3S_KUBELET_ARGS; do
  arguments="$arguments\"$argument\", "
done
sed -i -e "s/@CARD@/$card/" -e "s#\"@KUBELET_ARGS@\",#$arguments#" $config
# What every pod begins with is k3s' own, where k3s came with its images.
! ls $state/agent/images/*.tar* >/dev/null 2>&1 || sed -i '/^ *"pause-image"/d' $config

# k3s takes the systemd driver if INVOCATION_ID is set, as systemd sets it in every unit.
dropin=/etc/systemd/system/$unit.service.d/lab-cgroups.conf
rm -f $dropin
if [ "$LAB_CGROUP_DRIVER" = cgroupfs ]; then
  mkdir -p ${dropin%/*}
  printf '[Service]\nUnsetEnvironment=INVOCATION_ID\n' >$dropin
fi
systemctl daemon-reload

# Without CAP_SYS_RESOURCE (bit 24) nothing may lower an OOM score, and containerd must not try. k3s has
# no setting for that. With containerd 2 it can be told of a file beforehand: recent releases import a
# folder, earlier ones take a template around their own. k3s' program, which its first call unpacks,
# tells which: two imports in one configuration are an error.
bounding=$(awk '/^CapBnd/ { print $2 }' /proc/self/status)
way=none
rm -f $containerd/config*.toml $containerd/config*.toml.tmpl $containerd/config-v3.toml.d/lab.toml
if [ $((0x$bounding >> 24 & 1)) = 0 ]; then
  way=second-start
  k3s kubectl version --client >/dev/null 2>&1 || :
  mkdir -p $containerd/config-v3.toml.d /etc/lab
  cat >/etc/lab/oom.toml <<EOT
version = 3
[plugins.'io.containerd.cri.v1.runtime']
restrict_oom_score_adj = true
EOT
  if LC_ALL=C grep -qsF config-v3.toml.d $state/data/current/bin/k3s; then
    way=import
    cp /etc/lab/oom.toml $containerd/config-v3.toml.d/lab.toml
  elif LC_ALL=C grep -qsF config-v3.toml.tmpl $state/data/current/bin/k3s; then
    way=template
    printf 'imports = ["/etc/lab/oom.toml"]\n{{ template "base" . }}\n' >$containerd/config-v3.toml.tmpl
  fi
fi

fail() {
  journalctl --unit "$unit" --lines 14 --no-pager --output cat >&2
  echo "$1" >&2
  exit 1
}

start() {
  timeout "$limit" systemctl restart "$unit" || fail "$unit does not start"
}

systemctl enable --quiet "$unit"
start
[ $way = second-start ] || exit 0

# containerd 1 would replace all of its CRI's settings by what it imports. So k3s' own configuration, of
# whatever version, becomes the template of the next one.
tries=600
until grep -q 'runtimes' $containerd/config.toml 2>/dev/null; do
  systemctl is-active --quiet "$unit" || fail "$unit ended before it wrote $containerd/config.toml"
  tries=$((tries - 1))
  [ $tries -gt 0 ] || fail "$unit did not write $containerd/config.toml"
  sleep 0.2
done
template=config.toml.tmpl
! grep -q '^version = 3' $containerd/config.toml || template=config-v3.toml.tmpl
/usr/local/lib/lab/restrict-oom <$containerd/config.toml >$containerd/$template
start
