#!/bin/sh
# Takes this machine off the lab's network, as if somebody had pulled its plug: only SSH still works.
# away.sh SECONDS: for so long at most. away.sh back: plug it in again now.
set -eu
if [ "$1" = back ]; then
  nft delete table inet lab_away 2>/dev/null || :
  systemctl stop lab-away.timer 2>/dev/null || :
  exit
fi
# The card is the one that leads to the first machine, which has the lab's registry.
first=$(getent ahostsv4 registry.lab | sed 's/ .*//;q')
card=$(ip -o route get "$first" | sed 's/.* dev \([^ ]*\).*/\1/')
# The way back comes first: it must not depend on whoever asked for this.
systemd-run --quiet --collect --unit lab-away --on-active "$1" --timer-property AccuracySec=1s \
  nft delete table inet lab_away
nft --file - <<EOT
table inet lab_away {
  chain arriving {
    type filter hook prerouting priority -350
    iifname "$card" tcp dport 22 accept
    iifname "$card" drop
  }
  chain leaving {
    type filter hook postrouting priority 350
    oifname "$card" tcp sport 22 accept
    oifname "$card" drop
  }
}
EOT
