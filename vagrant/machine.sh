#!/bin/sh
# Every machine: know the other machines of the lab by name.
# Arguments: lines of /etc/hosts, the lab's registry among them.
set -eu
mkdir -p /etc/lab
printf '%s\n' "$@" >/etc/lab/hosts
for line in "$@"; do
  grep -qxF "$line" /etc/hosts || echo "$line" >>/etc/hosts
done
