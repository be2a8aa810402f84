#!/bin/sh
# One machine: take a part of Kubernetes away for an experiment, and put it back whatever happens.
#
#   experiment.sh away PART SECONDS   the machine itself puts it back after so long
#   experiment.sh hold                begin to count these seconds anew
#   experiment.sh back                put back what is away; does nothing where nothing is
#
# PART is static/NAME, a static pod of kubeadm's; unit/NAME, a unit of systemd's; or task/ID, a
# container's first process, which is frozen, and killed in the end: the kubelet starts it again.
set -eu
aside=/etc/lab/aside
manifests=/etc/kubernetes/manifests
switch=/etc/systemd/system/lab-experiment
exec 9>/run/lab-experiment.lock
flock 9

process() {
  ctr --namespace k8s.io tasks ls | awk -v id="$1" '$1 == id { print $2 }'
}

# A timer for the one who was forgotten, and a service at boot for the machine that was stopped.
arm() {
  cat >$switch.service <<EOT
[Unit]
Description=Put back what an experiment took away
[Service]
Type=oneshot
ExecStart=$0 back
[Install]
WantedBy=multi-user.target
EOT
  cat >$switch.timer <<EOT
[Unit]
Description=Nobody holds the experiment any more
[Timer]
OnActiveSec=$1
AccuracySec=100ms
EOT
  sync $aside/part $switch.service
  systemctl daemon-reload
  systemctl enable --quiet lab-experiment.service
  systemctl start lab-experiment.timer
}

away() {
  mkdir -p $aside
  echo "$1" >$aside/part
  arm "$2"
  name=${1#*/}
  case $1 in
    static/*) mv "$manifests/$name.yaml" $aside/ ;;
    unit/*) systemctl stop "$name" ;;
    task/*) kill -STOP "$(process "$name")" ;;
  esac
}

back() {
  [ -f $aside/part ] || return 0
  part=$(cat $aside/part)
  name=${part#*/}
  case $part in
    static/*) [ ! -f "$aside/$name.yaml" ] || mv "$aside/$name.yaml" $manifests/ ;;
    unit/*) systemctl start "$name" ;;
    task/*)
      pid=$(process "$name")
      [ -z "$pid" ] || kill -KILL "$pid"
      ;;
  esac
  systemctl stop lab-experiment.timer
  systemctl disable --quiet lab-experiment.service
  rm -rf $aside $switch.service $switch.timer
  systemctl daemon-reload
}

hold() {
  [ -f $aside/part ] || { echo 'it was put back already: nobody held it' >&2; exit 1; }
  systemctl restart lab-experiment.timer
}

verb=$1
shift
"$verb" "$@"
