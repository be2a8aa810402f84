#!/bin/sh
# Podman as root, on a machine that may itself be a container: podman.sh kube play FILE, and so on.
# Its containers lie in memory, where also a container can stack file systems, and go with a reboot.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
store=/run/lab/podman
mkdir -p $store
export CONTAINERS_REGISTRIES_CONF="$here/registries.conf" PODMAN_IGNORE_CGROUPSV1_WARNING=1
if systemd-detect-virt --quiet --container; then
  # Podman looks for a pod's control group where it would be on a real machine. So it makes none,
  # which is said to the runtime by a flag that only crun knows: see runc-plain.
  chmod +x "$here/runc-plain"
  cat >$store/containers.conf <<EOT
[containers]
cgroups = "disabled"
[engine]
cgroup_manager = "cgroupfs"
runtime = "runc-plain"
runtime_supports_nocgroup = ["runc-plain"]
runtime_supports_json = ["runc-plain"]
[engine.runtimes]
runc-plain = ["$here/runc-plain"]
EOT
  export CONTAINERS_CONF_OVERRIDE=$store/containers.conf
fi
exec podman --root $store/root --runroot $store/run "$@"
