//! IDX files, the format of MNIST and its relatives, gzipped or not.
//!
//! Two zero bytes, the type of the elements, the number of dimensions; each dimension as a 32-bit
//! number, most significant byte first; then the elements, the last dimension fastest (Y. LeCun,
//! C. Cortes and C. Burges, "The MNIST database of handwritten digits"). Only unsigned bytes are
//! read: nobody publishes anything else.
//!
//! The sizes in a file are claims. Memory grows with the bytes that are really there.

use std::io::Read;
use std::ops::RangeBounds;
use std::path::Path;

use super::dataset::Dataset;
use super::file::{self, FileError};

/// Type code of unsigned bytes.
const UNSIGNED_BYTE: u8 = 0x08;

/// An array as it stands in the file.
#[derive(Debug, PartialEq)]
struct Array {
    dimensions: Vec<usize>,
    bytes: Vec<u8>,
}

impl Dataset {
    /// Reads images and their labels from a pair of IDX files.
    ///
    /// A sample has one feature for each pixel, 0 to 255 as in the file; scale them with
    /// [`Scaler`](crate::Scaler).
    ///
    /// # Errors
    /// [`FileError`] if a file cannot be read, is no IDX file of bytes, ends early or goes on after
    /// its last element, or if there are not as many labels as images.
    pub fn from_idx(images: impl AsRef<Path>, labels: impl AsRef<Path>) -> Result<Self, FileError> {
        let (images_name, reader) = file::open(images.as_ref())?;
        let images = read(&images_name, reader)?;
        let (labels_name, reader) = file::open(labels.as_ref())?;
        let labels = read(&labels_name, reader)?;
        check_dimensions(&images_name, &images, "images in 2 dimensions or more", 2..)?;
        check_dimensions(&labels_name, &labels, "labels in 1 dimension", 1..=1)?;
        // Without images the other sizes are bound by nothing.
        let sizes = images.dimensions[1..].iter();
        let n_features = sizes.fold(1, |product: usize, &size| product.saturating_mul(size));
        let mut features = Vec::new();
        features
            .try_reserve_exact(images.bytes.len())
            .map_err(|error| FileError::io(&images_name, &error.into()))?;
        features.extend(images.bytes.into_iter().map(f32::from));
        let labels = labels.bytes.into_iter().map(u32::from).collect();
        Self::classes(features, n_features, labels)
            .map_err(|error| FileError::data(&images_name, error))
    }
}

/// Reads one array; `name` is for messages.
fn read(name: &str, reader: impl Read) -> Result<Array, FileError> {
    let io = |error| FileError::io(name, &error);
    let mut reader = file::unpack(reader).map_err(io)?;
    let magic: [u8; 4] = header_word(name, &mut reader, "the magic number")?;
    let n_dimensions = match magic {
        [0, 0, UNSIGNED_BYTE, n] if n > 0 => n,
        _ => {
            return Err(FileError::format(
                name,
                "the magic number",
                "00 00 08 and the number of dimensions: an IDX file of unsigned bytes",
                format!(
                    "{:02x} {:02x} {:02x} {:02x}",
                    magic[0], magic[1], magic[2], magic[3]
                ),
            ));
        }
    };
    let mut dimensions = Vec::new();
    for d in 0..n_dimensions {
        let word = header_word(name, &mut reader, &format!("dimension {d}"))?;
        dimensions.push(u32::from_be_bytes(word) as usize);
    }
    let shown: Vec<String> = dimensions.iter().map(usize::to_string).collect();
    let shown = shown.join(" x ");
    let claimed = dimensions
        .iter()
        .try_fold(1u64, |product, &d| product.checked_mul(d as u64))
        .filter(|&claimed| claimed < u64::MAX);
    let Some(claimed) = claimed else {
        return Err(FileError::format(
            name,
            "header",
            "fewer than 2^64 elements",
            shown,
        ));
    };
    let mut bytes = Vec::new();
    // One more than there should be: the end of the file is seen, and its checksum verified.
    let mut all = reader.take(claimed + 1);
    all.read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 != claimed {
        let got = match bytes.len() as u64 > claimed {
            true => "more".to_owned(),
            false => format!("{} bytes", bytes.len()),
        };
        let expected = format!("{claimed} bytes for {shown} elements");
        return Err(FileError::format(name, "elements", expected, got));
    }
    Ok(Array { dimensions, bytes })
}

/// Four bytes of the header.
fn header_word(name: &str, mut reader: impl Read, what: &str) -> Result<[u8; 4], FileError> {
    let mut word = Vec::new();
    let read = reader.by_ref().take(4).read_to_end(&mut word);
    read.map_err(|error| FileError::io(name, &error))?;
    word.as_slice()
        .try_into()
        .map_err(|_| FileError::format(name, what, "4 bytes", format!("{} bytes", word.len())))
}

fn check_dimensions(
    name: &str,
    array: &Array,
    expected: &str,
    range: impl RangeBounds<usize>,
) -> Result<(), FileError> {
    let n = array.dimensions.len();
    if range.contains(&n) {
        return Ok(());
    }
    Err(FileError::format(name, "header", expected, n.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::Write;

    /// Two images of 2 x 3.
    fn two_images() -> Vec<u8> {
        let mut file = vec![0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 3];
        file.extend(0..12);
        file
    }

    fn packed(file: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(file).unwrap();
        encoder.finish().unwrap()
    }

    fn message(file: &[u8]) -> String {
        read("f", file).unwrap_err().to_string()
    }

    #[test]
    fn reads_plain_and_packed() {
        let file = two_images();
        for bytes in [file.clone(), packed(&file)] {
            let array = read("f", &bytes[..]).unwrap();
            assert_eq!(array.dimensions, [2, 2, 3]);
            assert!(array.bytes.into_iter().eq(0..12));
        }
    }

    #[test]
    fn no_images_of_endless_size_are_no_samples() {
        let folder = std::env::temp_dir().join(format!("mlp-idx-file-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (images, labels) = (folder.join("images"), folder.join("labels"));
        let sizes = [[0; 4], [0xff; 4], [0xff; 4], [0xff; 4]].concat();
        std::fs::write(&images, [&[0, 0, UNSIGNED_BYTE, 4], &sizes[..]].concat()).unwrap();
        std::fs::write(&labels, [0, 0, UNSIGNED_BYTE, 1, 0, 0, 0, 0]).unwrap();
        let error = Dataset::from_idx(&images, &labels).unwrap_err().to_string();
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(error.contains("expected at least one sample"), "{error}");
    }

    #[test]
    fn every_truncation_is_an_error() {
        let file = two_images();
        for len in 0..file.len() {
            assert!(read("f", &file[..len]).is_err(), "{len} bytes");
        }
        let file = packed(&file);
        for len in 0..file.len() {
            assert!(read("f", &file[..len]).is_err(), "{len} bytes packed");
        }
    }

    #[test]
    fn says_what_is_wrong() {
        let mut file = two_images();
        assert_eq!(
            message(&file[..3]),
            "f, the magic number: expected 4 bytes, got 3 bytes"
        );
        assert_eq!(
            message(&file[..14]),
            "f, dimension 2: expected 4 bytes, got 2 bytes"
        );
        assert_eq!(
            message(&file[..20]),
            "f, elements: expected 12 bytes for 2 x 2 x 3 elements, got 4 bytes"
        );
        file.push(0);
        assert_eq!(
            message(&file),
            "f, elements: expected 12 bytes for 2 x 2 x 3 elements, got more"
        );
        file[2] = 0x0d;
        assert!(
            message(&file).ends_with("got 00 00 0d 03"),
            "{}",
            message(&file)
        );
    }

    #[test]
    fn a_damaged_packed_file_is_an_error() {
        let mut file = packed(&two_images());
        let checksum = file.len() - 8;
        file[checksum] ^= 1;
        assert!(matches!(read("f", &file[..]), Err(FileError::Io { .. })));
    }

    #[test]
    fn absurd_sizes_cost_no_memory() {
        let mut file = vec![0, 0, 8, 2];
        file.extend([0xff; 8]);
        assert!(message(&file).contains(
            "18446744065119617025 bytes for 4294967295 x 4294967295 elements, got 0 bytes"
        ));
        let mut file = vec![0, 0, 8, 255];
        file.extend([0xff; 4 * 255]);
        assert!(message(&file).contains("fewer than 2^64 elements"));
    }

    #[test]
    fn any_header_is_read_or_refused() {
        let file = two_images();
        for position in 0..16 {
            for value in 0..=u8::MAX {
                let mut changed = file.clone();
                changed[position] = value;
                let same = value == file[position];
                assert_eq!(read("f", &changed[..]).is_ok(), same, "{position}: {value}");
            }
        }
    }

    #[test]
    fn joins_images_and_labels() {
        let dir = std::env::temp_dir().join(format!("mlp-idx-set-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let write = |name: &str, bytes: &[u8]| {
            let path = dir.join(name);
            std::fs::write(&path, bytes).unwrap();
            path
        };
        let images = write("images.gz", &packed(&two_images()));
        let labels = write("labels", &[0, 0, 8, 1, 0, 0, 0, 2, 7, 3]);
        let three = write("three", &[0, 0, 8, 1, 0, 0, 0, 3, 7, 3, 1]);
        let set = Dataset::from_idx(&images, &labels).unwrap();
        let error = |images, labels| Dataset::from_idx(images, labels).unwrap_err().to_string();
        let errors = [
            error(&images, &three),
            error(&labels, &labels),
            error(&images, &images),
            error(&images, &dir.join("missing")),
        ];
        std::fs::remove_dir_all(&dir).unwrap();
        assert_eq!((set.n_samples(), set.n_features()), (2, 6));
        assert_eq!(set.labels().unwrap(), [7, 3]);
        assert_eq!(
            set.inputs().row(1).unwrap(),
            [6.0, 7.0, 8.0, 9.0, 10.0, 11.0]
        );
        for (error, part) in errors.iter().zip([
            "expected one for each of 2 samples, got 3",
            "expected images in 2 dimensions or more, got 1",
            "expected labels in 1 dimension, got 3",
            "missing: ",
        ]) {
            assert!(error.contains(part), "{error}");
        }
    }
}
