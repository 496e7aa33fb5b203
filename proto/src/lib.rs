//! Wire contracts, generated from `proto/`. The texts are ours; package, service and field numbers of the Kubernetes APIs
//! are theirs, since they meet the kubelet and the runtime on the wire.

/// The node's own service: what `tideway-cni` and `tideway` ask of `tidewayd`.
pub mod node {
    tonic::include_proto!("tideway.v1");
}
/// Kubelet device plugin API.
pub mod deviceplugin {
    tonic::include_proto!("v1beta1");
}
/// Kubelet pod-resources API.
pub mod podresources {
    tonic::include_proto!("v1");
}
/// The part of the container runtime interface that the daemon reads.
pub mod cri {
    tonic::include_proto!("runtime.v1");
}
