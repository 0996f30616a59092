//! Runs a command in namespaces of its own, without a device: what this crate's tests start themselves
//! by. `weir run` is what people use.

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    weir_os::namespace::entry().unwrap_or(std::process::ExitCode::from(2))
}

#[cfg(not(target_os = "linux"))]
fn main() {}
