#!/bin/sh
# Every machine: wait until its kubelet is healthy. $1 is the unit that runs it, kubelet, k3s or k3s-agent, and $2
# how many seconds it may take. A unit that ends meanwhile is an error at once, told with its last words: systemd
# would start it again and again, and between two starts an API server answers.
set -eu
unit=$1
limit=$2

fail() {
  journalctl --unit "$unit" --lines 14 --no-pager --output cat >&2
  echo "$1" >&2
  exit 1
}

restarts() {
  systemctl show --property NRestarts --value "$unit"
}

systemctl is-active --quiet "$unit" || timeout "$limit" systemctl start "$unit" ||
  fail "$unit does not start"
begun=$(restarts)
deadline=$(($(date +%s) + limit))
until curl --silent --fail --max-time 5 --output /dev/null http://127.0.0.1:10248/healthz; do
  systemctl is-active --quiet "$unit" && [ "$(restarts)" = "$begun" ] ||
    fail "$unit ended before kubelet was healthy"
  [ "$(date +%s)" -lt $deadline ] || fail "$unit runs, but kubelet was not healthy within $limit s"
  sleep 0.2
done
