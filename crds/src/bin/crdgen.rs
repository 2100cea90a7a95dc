//! `crdgen` writes the CRDs beside this package; `crdgen --check` says whether the
//! files are what it would write.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "output for the person who runs it"
)]

use std::path::Path;
use std::process::ExitCode;

use vmcp_crds::schema::{CrdFile, crds};

/// Exit code of a usage error, as clap has it.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let act: fn(&Path, &CrdFile) -> Result<(), String> =
        match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            [] => write,
            ["--check"] => check,
            _ => {
                eprintln!("usage: crdgen [--check]");
                return ExitCode::from(USAGE);
            }
        };
    match run(act) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("crdgen: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run(act: fn(&Path, &CrdFile) -> Result<(), String>) -> Result<(), String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    for file in crds().map_err(|error| error.to_string())? {
        act(&folder.join(file.file_name), &file)?;
    }
    Ok(())
}

fn write(path: &Path, file: &CrdFile) -> Result<(), String> {
    let text = file.yaml().map_err(|error| error.to_string())?;
    std::fs::write(path, &text).map_err(|error| format!("{}: {error}", path.display()))?;
    println!("{} ({} bytes)", file.file_name, text.len());
    Ok(())
}

fn check(path: &Path, file: &CrdFile) -> Result<(), String> {
    let text = file.yaml().map_err(|error| error.to_string())?;
    let found = std::fs::read_to_string(path).unwrap_or_default();
    if found == text {
        return Ok(());
    }
    Err(format!("{} is stale: run `make generate`", file.file_name))
}
