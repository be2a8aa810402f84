#!/bin/sh
# One machine: record for a while what the components of Kubernetes do for one namespace.
#
#   timeline.sh start WORD KUBELET...   record, for a minute at most
#   timeline.sh stop
#   timeline.sh read WORD SINCE         what was recorded and logged; SINCE is in seconds since 1970
#
# Changes of packet rules that have WORD in them go to the journal. On a control plane the scheduler,
# the controller manager and the KUBELETs (addresses) say more for as long as that. In k3s they share
# one process, and with it how much they say.
set -eu
unit=lab-timeline
# The certificates with which an API server asks kubelets: kubeadm's, and k3s'.
pairs='/etc/kubernetes/pki/apiserver-kubelet-client
/var/lib/rancher/k3s/server/tls/client-kube-apiserver'

start() {
  word=$1
  shift
  stop
  # Also when nobody stops it: the end of the unit brings the usual silence.
  systemd-run --quiet --collect --unit $unit --property RuntimeMaxSec=60 \
    --property "ExecStopPost=-$0 level 0 $*" \
    sh -c "nft monitor | grep --line-buffered --fixed-strings '$word'"
  level 4 "$@"
}

stop() {
  systemctl stop $unit 2>/dev/null || true
}

level() {
  verbosity=$1
  shift
  for pair in $pairs; do
    [ -f "$pair.key" ] || continue
    for address in 127.0.0.1:10257 127.0.0.1:10259 "$@"; do
      curl --silent --insecure --max-time 2 --cert "$pair.crt" --key "$pair.key" \
        --output /dev/null --request PUT --data "$verbosity" "https://$address/debug/flags/v" || true
    done
  done
}

read() {
  journalctl --output json --no-pager --since "@$2" --unit kubelet --unit containerd \
    --unit k3s --unit k3s-agent --unit $unit |
    grep --fixed-strings --regexp "$1" --regexp CreateContainer --regexp StartContainer || true
  since=$(date --utc --date "@$2" +%FT%T)
  for name in kube-scheduler kube-controller-manager; do
    for file in "/var/log/pods/kube-system_$name"*/*/*.log; do
      [ ! -f "$file" ] || awk -v since="$since" -v name=$name -v word="$1" \
        '$1 >= since && index($0, word) { print name, $0 }' "$file"
    done
  done
  k3s=/var/lib/rancher/k3s/agent/containerd/containerd.log
  [ ! -f $k3s ] || tail --lines 500 $k3s
}

verb=$1
shift
"$verb" "$@"
