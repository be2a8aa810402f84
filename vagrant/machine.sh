#!/bin/sh
# Every machine: know the other machines of the lab by name, and keep Services' addresses inside.
# Arguments: the Services' network, then lines of /etc/hosts, the lab's registry among them.
# Prints what outside.sh has told this machine last.
set -eu
services=$1
shift
mkdir -p /etc/lab
printf '%s\n' "$@" >/etc/lab/hosts
for line in "$@"; do
  grep -qxF "$line" /etc/hosts || echo "$line" >>/etc/hosts
done

# Until kube-proxy has its rules, a Service's address would be looked for outside; whoever answers
# there keeps the connection for as long as it lives. Translated packets have another destination.
cat >/etc/lab/services.nft <<EOT
table inet lab
delete table inet lab
table inet lab {
  chain output {
    type filter hook output priority filter
    ip daddr $services reject
  }
  chain forward {
    type filter hook forward priority filter
    ip daddr $services reject
  }
}
EOT
nft --file /etc/lab/services.nft
cat /etc/lab/outside 2>/dev/null || :
