"""What objects say of themselves."""

from __future__ import annotations

from lab.cluster import objects


def test_a_new_node_has_no_lease_yet() -> None:
    node = {
        "status": {"conditions": [{"type": "Ready", "lastHeartbeatTime": "2026-11-23T10:00:00Z"}]}
    }
    assert objects.sign_of_life(node, None).second == 0
    lease = {"spec": {"renewTime": "2026-11-23T10:00:07.123456Z"}}
    assert objects.sign_of_life(node, lease).second == 7


def test_what_a_workload_lacks() -> None:
    agent = {"kind": "DaemonSet", "status": {"desiredNumberScheduled": 3, "numberReady": 2}}
    assert objects.lacking(agent) == "2 of 3 pods ready"
    assert objects.lacking({"kind": "DaemonSet"}) == "0 of 0 pods ready"
    ready = [{"type": "Available", "status": "True"}]
    status = {"conditions": ready, "readyReplicas": 1}
    web = {"kind": "Deployment", "spec": {"replicas": 1}, "status": status}
    assert objects.lacking(web) == ""
    # CoreDNS, with one replica, is "Available" before its pod has started.
    assert objects.lacking({**web, "status": {"conditions": ready}}) == "0 of 1 pods ready"
    assert objects.lacking({**web, "status": {}}) == "0 of 1 pods ready"


def test_an_ingress_controller_needs_an_address() -> None:
    service = {"kind": "Service", "status": {"loadBalancer": {}}}
    assert objects.lacking(service) == "no address yet"
    service["status"] = {"loadBalancer": {"ingress": [{"ip": "192.168.56.11"}]}}
    assert objects.lacking(service) == ""
