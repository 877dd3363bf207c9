//! How an example ends.

use std::error::Error;
use std::process::ExitCode;

/// Runs an example, and says on stderr why it could not.
pub(crate) fn main<T>(example: impl FnOnce() -> Result<T, Box<dyn Error>>) -> ExitCode {
    match example() {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
