//! What can be wrong with the file of a model.

/// Why a model could not be written or read; each message says which file, where in it, what was
/// expected, and what came.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ModelFileError {
    /// The file could not be opened, read, written or renamed.
    #[error("{file}: {message}")]
    Io {
        /// The file.
        file: String,
        /// What the operating system says.
        message: String,
    },
    /// The file is not one of this format, or of another version of it.
    #[error("{file}: expected {expected}, got {got}")]
    Format {
        /// The file.
        file: String,
        /// What it should be.
        expected: &'static str,
        /// What is there.
        got: String,
    },
    /// A tensor is missing, or of another shape or type than the network needs.
    #[error("{file}, tensor {tensor}: expected {expected}, got {got}")]
    Tensor {
        /// The file.
        file: String,
        /// Name of the tensor.
        tensor: String,
        /// What the network needs.
        expected: String,
        /// What the file holds.
        got: String,
    },
    /// The file describes what is no network.
    #[error("{file}: the description in it is no network: {message}")]
    Network {
        /// The file.
        file: String,
        /// What is wrong with it.
        message: String,
    },
}
