//! Whole files: read at once, replaced at once.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};

use super::error::ModelFileError;

fn failed(path: &Path, error: &io::Error) -> ModelFileError {
    ModelFileError::Io {
        file: path.display().to_string(),
        message: error.to_string(),
    }
}

/// The bytes of a file.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, ModelFileError> {
    fs::read(path).map_err(|error| failed(path, &error))
}

/// Makes `bytes` the content of the file: whoever opens it, even after a loss of power, finds the old
/// content or the new one.
///
/// The bytes go to a file beside it, and to the disk; then that file takes the name.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<(), ModelFileError> {
    let beside = name_beside(path).ok_or_else(|| ModelFileError::Io {
        file: path.display().to_string(),
        message: "no name of a file".into(),
    })?;
    let result = write_new(&beside, bytes).and_then(|()| fs::rename(&beside, path));
    if let Err(error) = result {
        // What is left of the attempt is of no use; that the attempt failed is what counts.
        let _ = fs::remove_file(&beside);
        return Err(failed(path, &error));
    }
    sync_folder(path).map_err(|error| failed(path, &error))
}

/// A name in the same folder that no other call of any process uses.
fn name_beside(path: &Path) -> Option<PathBuf> {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    let call = CALLS.fetch_add(1, Ordering::Relaxed);
    let mut name = OsString::from(".");
    name.push(path.file_name()?);
    name.push(format!(".{}-{call}.tmp", process::id()));
    Some(path.with_file_name(name))
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Brings the new name to the disk, where folders can be opened as files.
fn sync_folder(path: &Path) -> io::Result<()> {
    if !cfg!(unix) {
        return Ok(());
    }
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    File::open(folder)?.sync_all()
}
