//! Compiles the kernel programs of `bpf/` into the object that the crate embeds.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output};

const PACKAGES: &str = "on Debian and Ubuntu: apt-get install clang llvm libbpf-dev";

fn main() -> ExitCode {
    println!("cargo::rerun-if-changed=bpf");
    println!("cargo::rerun-if-env-changed=CLANG");
    println!("cargo::rerun-if-env-changed=LLVM_STRIP");
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            for line in message.lines() {
                println!("cargo::error={line}");
            }
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), String> {
    let out = PathBuf::from(env::var("OUT_DIR").map_err(|e| format!("OUT_DIR: {e}"))?);
    let object = out.join("kerntrail.bpf.o");
    compile(&object)?;
    strip(&object);
    Ok(())
}

/// `-mcpu=v3`: atomics that return the old value, which the sequence numbers need (kernel 5.12).
fn compile(object: &Path) -> Result<(), String> {
    let arch = match env::var("CARGO_CFG_TARGET_ARCH").as_deref() {
        Ok("x86_64") => "x86",
        Ok("aarch64") => "arm64",
        other => return Err(format!("the kernel programs know x86_64 and aarch64, not {other:?}")),
    };
    let flags = ["-target", "bpf", "-mcpu=v3", "-O2", "-g", "-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter"];
    let clang = env::var("CLANG").unwrap_or_else(|_| "clang".into());
    let output = Command::new(&clang)
        .args(flags)
        .arg(format!("-D__TARGET_ARCH_{arch}"))
        .args(["-c", "bpf/kerntrail.bpf.c", "-o"])
        .arg(object)
        .output()
        .map_err(|e| format!("cannot run {clang} (14 or newer compiles the kernel programs): {e}\n{PACKAGES}"))?;
    if output.status.success() {
        return Ok(());
    }
    let text = text_of(&output);
    let missing = text.contains("bpf/bpf_") && text.contains("file not found");
    Err(if missing { format!("libbpf's headers are missing\n{PACKAGES}") } else { text })
}

/// Drops DWARF and keeps BTF. Without llvm-strip the object is larger and works the same.
fn strip(object: &Path) {
    let tool = env::var("LLVM_STRIP").unwrap_or_else(|_| "llvm-strip".into());
    match Command::new(&tool).arg("-g").arg(object).output() {
        Ok(output) if output.status.success() => {}
        Ok(output) => println!("cargo::warning={tool} failed, DWARF stays: {}", text_of(&output)),
        Err(e) => println!("cargo::warning=cannot run {tool}, DWARF stays in the kernel object: {e} ({PACKAGES})"),
    }
}

fn text_of(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).trim().to_owned()
}
