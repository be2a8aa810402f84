module lecture.lab/toolchain/metrics-server

go 1.26.4

// Its own set: it is built with the libraries of one Kubernetes, which is not the cluster's.
require sigs.k8s.io/metrics-server v0.9.0
