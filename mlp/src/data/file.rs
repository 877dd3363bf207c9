//! What the readers of data files share: opening, unpacking, and errors that name the place.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;

use super::error::DataError;

/// Why a file could not be read as data; each message says where, what was expected, what came.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// The file could not be opened, read or unpacked.
    #[error("{file}: {message}")]
    Io {
        /// The file.
        file: String,
        /// What the operating system or the decoder says.
        message: String,
    },
    /// The file is not what its reader understands.
    #[error("{file}, {place}: expected {expected}, got {got}")]
    Format {
        /// The file.
        file: String,
        /// Where in the file.
        place: String,
        /// What should be there.
        expected: String,
        /// What is there.
        got: String,
    },
    /// The file was read, but is no set of samples.
    #[error("{file}: {error}")]
    Data {
        /// The file.
        file: String,
        /// What is wrong.
        error: DataError,
    },
}

impl FileError {
    pub(super) fn io(file: &str, error: &io::Error) -> Self {
        Self::Io {
            file: file.to_owned(),
            message: error.to_string(),
        }
    }

    pub(super) fn format(
        file: &str,
        place: impl Into<String>,
        expected: impl Into<String>,
        got: impl Into<String>,
    ) -> Self {
        Self::Format {
            file: file.to_owned(),
            place: place.into(),
            expected: expected.into(),
            got: got.into(),
        }
    }

    pub(super) fn data(file: &str, error: DataError) -> Self {
        Self::Data {
            file: file.to_owned(),
            error,
        }
    }
}

/// Opens a file for reading; the name is for messages.
pub(super) fn open(path: &Path) -> Result<(String, BufReader<File>), FileError> {
    let name = path.display().to_string();
    let file = File::open(path).map_err(|error| FileError::io(&name, &error))?;
    Ok((name, BufReader::new(file)))
}

/// The bytes of `reader`, unpacked if they begin as a gzip file does (RFC 1952).
pub(super) fn unpack<'a>(mut reader: impl Read + 'a) -> io::Result<Box<dyn BufRead + 'a>> {
    const GZIP: [u8; 2] = [0x1f, 0x8b];
    let mut head = Vec::with_capacity(GZIP.len());
    reader
        .by_ref()
        .take(GZIP.len() as u64)
        .read_to_end(&mut head)?;
    let packed = head == GZIP;
    let whole = BufReader::new(Cursor::new(head).chain(reader));
    Ok(if packed {
        Box::new(BufReader::new(MultiGzDecoder::new(whole)))
    } else {
        Box::new(whole)
    })
}
