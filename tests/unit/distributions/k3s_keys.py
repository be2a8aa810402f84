"""The keys of k3s' configuration file: its flags without the leading dashes.

The source is the help text in the documentation's repository, k3s-io/docs:

- `old`: docs/installation/install-options at commit 5419f1f of 2022. It must have every key that
  the lab uses, because a release of that time exits at an unknown flag.
- `new`: docs/cli at commits 1f023c0 (agent) and 0243496 (server), for releases from 1.31 on.
"""

from __future__ import annotations

_AGENT = """
config debug v vmodule log alsologtostderr token token-file server data-dir node-name with-node-id
node-label node-taint image-credential-provider-bin-dir image-credential-provider-config docker
container-runtime-endpoint pause-image snapshotter private-registry node-ip node-external-ip
resolv-conf flannel-iface flannel-conf kubelet-arg kube-proxy-arg protect-kernel-defaults rootless
selinux lb-server-port
"""
_AGENT_NEW = """
default-runtime image-service-endpoint disable-default-registry-endpoint nonroot-devices
bind-address node-internal-dns node-external-dns flannel-cni-conf enable-pprof prefer-bundled-bin
vpn-auth vpn-auth-file disable-apiserver-lb
"""
_SERVER = """
bind-address https-listen-port advertise-address advertise-port tls-san cluster-cidr service-cidr
service-node-port-range cluster-dns cluster-domain flannel-backend write-kubeconfig
write-kubeconfig-mode etcd-arg kube-apiserver-arg kube-scheduler-arg kube-controller-manager-arg
kube-cloud-controller-manager-arg datastore-endpoint datastore-cafile datastore-certfile
datastore-keyfile etcd-expose-metrics etcd-disable-snapshots etcd-snapshot-name
etcd-snapshot-schedule-cron etcd-snapshot-retention etcd-snapshot-dir etcd-s3 etcd-s3-endpoint
etcd-s3-endpoint-ca etcd-s3-skip-ssl-verify etcd-s3-access-key etcd-s3-secret-key etcd-s3-bucket
etcd-s3-region etcd-s3-folder default-local-storage-path disable disable-scheduler
disable-cloud-controller disable-kube-proxy disable-network-policy agent-token agent-token-file
cluster-init cluster-reset cluster-reset-restore-path secrets-encryption system-default-registry
"""
_SERVER_NEW = """
tls-san-security flannel-ipv6-masq flannel-external-ip egress-selector-mode servicelb-namespace
write-kubeconfig-group helm-job-image etcd-snapshot-compress etcd-s3-proxy etcd-s3-config-secret
etcd-s3-insecure etcd-s3-timeout disable-helm-controller embedded-registry supervisor-metrics
secrets-encryption-provider
"""
_DEPRECATED = "no-flannel cluster-secret no-deploy"

AGENT = {
    "old": frozenset(f"{_AGENT} {_DEPRECATED}".split()),
    "new": frozenset(f"{_AGENT} {_AGENT_NEW}".split()),
}
# A server also accepts the flags of an agent.
SERVER = {
    "old": frozenset(f"{_AGENT} {_SERVER} {_DEPRECATED}".split()),
    "new": frozenset(f"{_AGENT} {_AGENT_NEW} {_SERVER} {_SERVER_NEW}".split()),
}
