//! Compiles the contracts with a compiler written in Rust: no `protoc` is needed on any machine.
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = [
        "proto/tideway/v1/node.proto",
        "proto/kubelet/deviceplugin.proto",
        "proto/kubelet/podresources.proto",
        "proto/cri/runtime.proto",
    ];
    for file in files {
        println!("cargo:rerun-if-changed={file}");
    }
    let descriptors = protox::compile(files, ["proto"])?;
    tonic_prost_build::configure().build_transport(false).compile_fds(descriptors)?;
    Ok(())
}
