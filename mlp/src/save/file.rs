//! Whole files: read at once, replaced at once.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};

use super::error::ModelFileError;

/// Symbolic links that are followed, one after the other; as many as Linux follows.
const MAX_LINKS: usize = 40;

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
/// The bytes go to a file beside it, and to the disk; then that file takes the name. Of a symbolic link it
/// is the file at its end that is replaced. What is there and no regular file is left alone.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<(), ModelFileError> {
    let end = end_of_links(path).map_err(|error| failed(path, &error))?;
    let path = end.as_path();
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

/// The place that a path names, symbolic links followed: that of a regular file, or of nothing yet.
fn end_of_links(path: &Path) -> io::Result<PathBuf> {
    let mut end = path.to_path_buf();
    for _ in 0..MAX_LINKS {
        let kind = match fs::symlink_metadata(&end) {
            Ok(found) => found.file_type(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(end),
            Err(error) => return Err(error),
        };
        if !kind.is_symlink() {
            return match kind.is_file() {
                true => Ok(end),
                false => Err(io::Error::other("expected a regular file, or none yet")),
            };
        }
        // A target may be relative to the folder of the link, which `join` drops if it is not.
        let target = fs::read_link(&end)?;
        end = end.parent().unwrap_or(Path::new("")).join(target);
    }
    Err(io::Error::other("too many symbolic links"))
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
