//! Trains a zstd dictionary with the command `zstd`: the trainer is left out of the library that we build.

use std::process::{Command, Stdio};

/// A dictionary of at most `bytes` for messages like `samples`.
pub(crate) fn train(samples: &[Vec<u8>], bytes: usize) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    for (number, sample) in samples.iter().enumerate() {
        std::fs::write(folder.path().join(format!("{number:06}")), sample)?;
    }
    let dictionary = folder.path().join("dictionary");
    let mut command = Command::new("zstd");
    command.args(["-q", "--train", "-r"]).arg(folder.path());
    command.arg(format!("--maxdict={bytes}")).arg("-o").arg(&dictionary);
    let status = command.stdin(Stdio::null()).status()?;
    if !status.success() {
        return Err(format!("zstd --train: {status}").into());
    }
    Ok(std::fs::read(dictionary)?)
}
