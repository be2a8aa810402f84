#!/bin/sh
# Further machines: join the cluster. Needs /etc/lab/kubeadm.json; does nothing on a machine that joined.
set -eu
done=/etc/kubernetes/lab-joined
[ -f $done ] && exit 0
# A join that was cut off may have got as far as the node's own certificate: then a worker is done. A
# control plane has its etcd and its API server still to come.
own=/etc/kubernetes/kubelet.conf
if [ -f $own ]; then
  if ! grep -q controlPlane /etc/lab/kubeadm.json &&
    kubectl --kubeconfig $own --request-timeout 10s get node "$(hostname)" >/dev/null 2>&1; then
    systemctl start kubelet
    touch $done
    exit 0
  fi
  kubeadm reset --force >/dev/null 2>&1
fi
/usr/local/lib/lab/with-kubelet kubeadm join --config /etc/lab/kubeadm.json
touch $done
