//! Named tensors of f32 and a text, as a file of the format safetensors.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

use super::error::ModelFileError;
use super::file;

/// Where the text is kept among the metadata.
const TEXT: &str = "mlp";

/// Length of the number with which a file begins.
const HEADER_START: usize = 8;

/// One tensor to be written.
#[derive(Debug)]
pub(super) struct Tensor<'a> {
    pub(super) name: String,
    pub(super) shape: Vec<usize>,
    pub(super) values: &'a [f32],
}

/// Replaces the file by one that holds these tensors and the text.
pub(super) fn write(
    path: &Path,
    tensors: &[Tensor<'_>],
    text: String,
) -> Result<(), ModelFileError> {
    let refused = |error: safetensors::SafeTensorError| ModelFileError::Format {
        file: path.display().to_string(),
        expected: "what can be written as safetensors",
        got: error.to_string(),
    };
    let bytes: Vec<Vec<u8>> = tensors
        .iter()
        .map(|tensor| tensor.values.iter().flat_map(|x| x.to_le_bytes()).collect())
        .collect();
    let mut views = Vec::with_capacity(tensors.len());
    for (tensor, bytes) in tensors.iter().zip(&bytes) {
        let view = TensorView::new(Dtype::F32, tensor.shape.clone(), bytes).map_err(refused)?;
        views.push((tensor.name.as_str(), view));
    }
    // One entry alone: several would come in another order each time.
    let metadata = HashMap::from([(TEXT.to_owned(), text)]);
    let bytes = safetensors::serialize(views, Some(metadata)).map_err(refused)?;
    file::replace(path, &bytes)
}

/// The bytes of a file, known to be safetensors.
pub(super) struct TensorFile<'a> {
    name: String,
    tensors: SafeTensors<'a>,
    text: Option<String>,
}

impl<'a> TensorFile<'a> {
    /// Reads the header of a file whose bytes are given.
    pub(super) fn new(path: &Path, bytes: &'a [u8]) -> Result<Self, ModelFileError> {
        let name = path.display().to_string();
        let malformed = |got: String| ModelFileError::Format {
            file: path.display().to_string(),
            expected: "a safetensors file",
            got,
        };
        check_offsets(bytes).map_err(malformed)?;
        let (_, metadata) =
            SafeTensors::read_metadata(bytes).map_err(|error| malformed(error.to_string()))?;
        let tensors =
            SafeTensors::deserialize(bytes).map_err(|error| malformed(error.to_string()))?;
        let metadata = metadata.metadata().as_ref();
        let text = metadata.and_then(|entries| entries.get(TEXT).cloned());
        Ok(Self {
            name,
            tensors,
            text,
        })
    }

    /// Name of the file, for messages.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The text that was written with the tensors.
    pub(super) fn text(&self) -> Option<&str> {
        self.text.as_deref()
    }

    /// Names of all tensors, in alphabetical order.
    pub(super) fn tensor_names(&self) -> Vec<&str> {
        let mut names = self.tensors.names();
        names.sort_unstable();
        names
    }

    fn wrong(&self, tensor: &str, expected: String, got: String) -> ModelFileError {
        ModelFileError::Tensor {
            file: self.name.clone(),
            tensor: tensor.to_owned(),
            expected,
            got,
        }
    }

    /// Checks that there is such a tensor of f32 with this shape, and gives its bytes.
    fn find(&self, name: &str, shape: &[usize]) -> Result<TensorView<'a>, ModelFileError> {
        let expected = || format!("{} of F32", Shape(shape));
        let Ok(tensor) = self.tensors.tensor(name) else {
            return Err(self.wrong(name, expected(), "no such tensor".into()));
        };
        if tensor.dtype() != Dtype::F32 || tensor.shape() != shape {
            let got = format!("{} of {:?}", Shape(tensor.shape()), tensor.dtype());
            return Err(self.wrong(name, expected(), got));
        }
        Ok(tensor)
    }

    /// Checks that there is such a tensor of f32 with this shape.
    pub(super) fn check(&self, name: &str, shape: &[usize]) -> Result<(), ModelFileError> {
        self.find(name, shape).map(drop)
    }

    /// Copies a tensor of this shape to memory of as many elements; all have to be finite, and of at least
    /// `least` where there is such a bound.
    pub(super) fn copy(
        &self,
        name: &str,
        shape: &[usize],
        least: Option<f32>,
        to: &mut [f32],
    ) -> Result<(), ModelFileError> {
        let tensor = self.find(name, shape)?;
        let (values, _) = tensor.data().as_chunks();
        for (index, (to, &bytes)) in to.iter_mut().zip(values).enumerate() {
            *to = f32::from_le_bytes(bytes);
            if !to.is_finite() {
                let got = format!("{to} at index {index}");
                return Err(self.wrong(name, "finite values".into(), got));
            }
            if let Some(least) = least
                && *to < least
            {
                let got = format!("{to} at index {index}");
                return Err(self.wrong(name, format!("values of at least {least}"), got));
            }
        }
        Ok(())
    }
}

/// A shape as people write it.
struct Shape<'a>(&'a [usize]);

impl fmt::Display for Shape<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("a number");
        }
        for (place, size) in self.0.iter().enumerate() {
            let cross = if place == 0 { "" } else { " x " };
            write!(f, "{cross}{size}")?;
        }
        Ok(())
    }
}

/// Checks that no tensor claims to end behind the end of the file.
///
/// The reader adds the largest of these ends to the length of the header before it compares the sum
/// with the length of the file: it must not overflow.
fn check_offsets(bytes: &[u8]) -> Result<(), String> {
    let Some((start, rest)) = bytes.split_first_chunk::<HEADER_START>() else {
        return Err(format!("{} bytes", bytes.len()));
    };
    let header = usize::try_from(u64::from_le_bytes(*start)).ok();
    let Some(header) = header.and_then(|len| rest.get(..len)) else {
        return Err("a header longer than the file".into());
    };
    let header: HashMap<String, Value> = serde_json::from_slice(header)
        .map_err(|error| format!("a header that is none: {error}"))?;
    for (name, entry) in &header {
        let offsets = entry.get("data_offsets").and_then(Value::as_array);
        let ends = offsets.into_iter().flatten().filter_map(Value::as_u64);
        if let Some(end) = ends.max().filter(|&end| end > bytes.len() as u64) {
            return Err(format!(
                "tensor {name}, which ends behind the file, at {end}"
            ));
        }
    }
    Ok(())
}
