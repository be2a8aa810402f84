#!/bin/sh
# Every machine: the proxy of /etc/lab/proxy.env and the CA of /etc/lab/ca.crt, for all on it that
# reaches outside, and /etc/lab/registry-mirror for Docker Hub's images. Empty files take them away
# again. $1 is what this state is remembered by.
set -eu
proxy=/etc/lab/proxy.env
certificate=/usr/local/share/ca-certificates/lab.crt
if [ -s /etc/lab/ca.crt ]; then
  install -m 0644 /etc/lab/ca.crt $certificate
else
  rm -f $certificate
fi
update-ca-certificates >/dev/null

# Daemons, and shells of people. What the lab itself runs here over SSH has no need to go outside.
for unit in docker containerd k3s k3s-agent; do
  mkdir -p /etc/systemd/system/$unit.service.d
  printf '[Service]\nEnvironmentFile=%s\n' $proxy >/etc/systemd/system/$unit.service.d/lab-proxy.conf
done
printf 'set -a\n. %s\nset +a\n' $proxy >/etc/profile.d/lab-proxy.sh

unset http_proxy https_proxy no_proxy
. $proxy
for kind in http https; do
  eval "address=\${${kind}_proxy:-}"
  [ -z "$address" ] || printf 'Acquire::%s::Proxy "%s";\n' $kind "$address"
done >/etc/apt/apt.conf.d/90lab-proxy

# Containers that Docker runs or builds; a file that somebody has written stays.
wanted=/etc/lab/docker-proxy.json
printf '{"proxies": {"default": {"httpProxy": "%s", "httpsProxy": "%s", "noProxy": "%s"}}}\n' \
  "${http_proxy:-}" "${https_proxy:-}" "${no_proxy:-}" >$wanted.new
for home in /root /home/vagrant; do
  file=$home/.docker/config.json
  [ ! -f $file ] || cmp -s $file $wanted || continue
  install -d -o "$(stat -c %U $home)" -g "$(stat -c %G $home)" $home/.docker
  install -m 0644 -o "$(stat -c %U $home)" -g "$(stat -c %G $home)" $wanted.new $file
done
mv $wanted.new $wanted

# After the lab's own registry, which is asked first.
mirror=$(cat /etc/lab/registry-mirror)
sed -i "s#\(\"registry-mirrors\"\): .*#\1: [\"http://registry.lab:5000\"${mirror:+, \"$mirror\"}]#" \
  /etc/docker/daemon.json
for address in http://registry.lab:5000 $mirror; do
  printf '[host."%s"]\ncapabilities = ["pull", "resolve"]\n' "$address"
done >/etc/containerd/certs.d/docker.io/hosts.toml

systemctl daemon-reload
systemctl try-restart docker containerd k3s k3s-agent 2>/dev/null || :
echo "$1" >/etc/lab/outside
