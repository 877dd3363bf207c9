//! CSV files (RFC 4180): one sample a line, one of the columns being what the sample should give.
//!
//! Cells are numbers; labels are whole numbers from 0. Blank lines are skipped, spaces around a
//! cell do not count, and a file may be gzipped.

use std::io::{self, Read};
use std::path::Path;

use csv::{ReaderBuilder, StringRecord, Trim};

use super::dataset::Dataset;
use super::file::{self, FileError};

/// A column of a CSV file.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Column {
    /// The last one.
    Last,
    /// By position, counted from 0.
    Index(usize),
    /// By its name in the header.
    Name(String),
}

/// How to read a CSV file.
///
/// ```
/// use mlp::{Column, CsvReader};
///
/// let text = "height,width,kind\n1.5,2,0\n3,4.25,1\n";
/// let set = CsvReader::labels(Column::Name("kind".into()))
///     .header(true)
///     .read_from(text.as_bytes())?;
/// assert_eq!((set.n_samples(), set.n_features(), set.n_classes()), (2, 2, Some(2)));
/// # Ok::<(), mlp::FileError>(())
/// ```
#[derive(Clone, Debug)]
pub struct CsvReader {
    target: Column,
    kind: TargetKind,
    header: bool,
    delimiter: u8,
}

#[derive(Clone, Copy, Debug)]
enum TargetKind {
    Label,
    Value,
}

impl CsvReader {
    /// Samples that each belong to the class in the given column.
    pub fn labels(column: Column) -> Self {
        Self::new(column, TargetKind::Label)
    }

    /// Samples that each have the value in the given column.
    pub fn values(column: Column) -> Self {
        Self::new(column, TargetKind::Value)
    }

    fn new(target: Column, kind: TargetKind) -> Self {
        Self {
            target,
            kind,
            header: false,
            delimiter: b',',
        }
    }

    /// Whether the first line holds the names of the columns; by default it is a sample.
    #[must_use]
    pub fn header(self, header: bool) -> Self {
        Self { header, ..self }
    }

    /// What stands between two cells; by default a comma.
    #[must_use]
    pub fn delimiter(self, delimiter: u8) -> Self {
        Self { delimiter, ..self }
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`FileError`] if the file cannot be read, has no such column, two of one name, or no samples, if a line is
    /// shorter or longer than the first, or a cell is not a finite number or not a label.
    pub fn read(&self, path: impl AsRef<Path>) -> Result<Dataset, FileError> {
        let (name, reader) = file::open(path.as_ref())?;
        self.read_named(&name, reader)
    }

    /// Reads what is in memory or comes from elsewhere.
    ///
    /// # Errors
    /// As [`CsvReader::read`].
    pub fn read_from(&self, reader: impl Read) -> Result<Dataset, FileError> {
        self.read_named("CSV data", reader)
    }

    fn read_named(&self, name: &str, reader: impl Read) -> Result<Dataset, FileError> {
        let text = read_text(name, reader)?;
        let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&text);
        let mut reader = ReaderBuilder::new()
            .has_headers(self.header)
            .delimiter(self.delimiter)
            .trim(Trim::All)
            // Lines of another length are found here, where the message can say more.
            .flexible(true)
            .from_reader(text.as_bytes());
        let io = |error| FileError::io(name, &io::Error::from(error));
        // Without a header, these are the cells of the first sample.
        let first = reader.headers().map_err(io)?.clone();
        self.check_titles(name, &first)?;
        let target = self.find_target(name, &first)?;
        let (mut features, mut labels, mut values) = (Vec::new(), Vec::new(), Vec::new());
        let mut record = StringRecord::new();
        while reader.read_record(&mut record).map_err(io)? {
            let cells = Cells {
                name,
                text,
                record: &record,
            };
            cells.check_length(first.len())?;
            for column in (0..record.len()).filter(|&column| column != target) {
                features.push(cells.number(column)?);
            }
            match self.kind {
                TargetKind::Label => labels.push(cells.label(target)?),
                TargetKind::Value => values.push(cells.number(target)?),
            }
        }
        let n_features = first.len() - 1;
        match self.kind {
            TargetKind::Label => Dataset::classes(features, n_features, labels),
            TargetKind::Value => Dataset::values(features, n_features, values, 1),
        }
        .map_err(|error| FileError::data(name, error))
    }

    /// Checks that no two columns have one name, unless they have none.
    fn check_titles(&self, name: &str, first: &StringRecord) -> Result<(), FileError> {
        for (position, title) in first.iter().enumerate().filter(|_| self.header) {
            let earlier = first.iter().take(position).position(|other| other == title);
            if let Some(earlier) = earlier.filter(|_| !title.is_empty()) {
                return Err(FileError::format(
                    name,
                    "line 1",
                    "columns of different names",
                    format!("{title:?} in columns {} and {}", earlier + 1, position + 1),
                ));
            }
        }
        Ok(())
    }

    /// Position of the target column.
    fn find_target(&self, name: &str, first: &StringRecord) -> Result<usize, FileError> {
        let missing =
            |expected: String, got: String| Err(FileError::format(name, "line 1", expected, got));
        if first.is_empty() {
            return missing("a line of cells".into(), "an empty file".into());
        }
        match &self.target {
            Column::Last => Ok(first.len() - 1),
            Column::Index(index) if *index < first.len() => Ok(*index),
            Column::Index(index) => missing(
                format!("a column {index}, counted from 0"),
                format!("{} columns", first.len()),
            ),
            Column::Name(_) if !self.header => missing(
                "a header, to find the column by its name".into(),
                "a reader that was told there is none".into(),
            ),
            Column::Name(wanted) => match first.iter().position(|title| title == wanted) {
                Some(index) => Ok(index),
                None => missing(
                    format!("a column named {wanted:?}"),
                    first.iter().collect::<Vec<_>>().join(", "),
                ),
            },
        }
    }
}

/// What some programs put before the text.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// The whole file, unpacked.
fn read_text(name: &str, reader: impl Read) -> Result<String, FileError> {
    let mut bytes = Vec::new();
    file::unpack(reader)
        .and_then(|mut reader| reader.read_to_end(&mut bytes))
        .map_err(|error| FileError::io(name, &error))?;
    String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = 1 + valid.iter().filter(|&&byte| byte == b'\n').count();
        FileError::format(name, format!("line {line}"), "UTF-8 text", "other bytes")
    })
}

/// One line of the file, with what messages need.
struct Cells<'a> {
    name: &'a str,
    text: &'a str,
    record: &'a StringRecord,
}

impl Cells<'_> {
    /// Number of the line, counted from 1.
    ///
    /// The reader's own count comes before blank lines, and before the second half of a CR LF.
    fn line(&self) -> usize {
        let start = self.record.position().map_or(0, csv::Position::byte) as usize;
        let (before, rest) = self.text.split_at(start);
        let blank = &rest[..rest.len() - rest.trim_start_matches(['\r', '\n']).len()];
        let newlines = |text: &str| text.bytes().filter(|&byte| byte == b'\n').count();
        1 + newlines(before) + newlines(blank)
    }

    fn check_length(&self, expected: usize) -> Result<(), FileError> {
        if self.record.len() == expected {
            return Ok(());
        }
        Err(FileError::format(
            self.name,
            format!("line {}", self.line()),
            format!("{expected} cells, as in the first line"),
            self.record.len().to_string(),
        ))
    }

    fn number(&self, column: usize) -> Result<f32, FileError> {
        let number = self.record[column].parse().ok();
        let finite = number.filter(|number: &f32| number.is_finite());
        finite.ok_or_else(|| self.error(column, "a finite number"))
    }

    fn label(&self, column: usize) -> Result<u32, FileError> {
        let label = self.record[column].parse().ok();
        label.ok_or_else(|| self.error(column, "a label, a whole number from 0"))
    }

    /// An error in one cell; columns are counted from 1, as lines are.
    fn error(&self, column: usize, expected: &str) -> FileError {
        FileError::format(
            self.name,
            format!("line {}, column {}", self.line(), column + 1),
            expected,
            format!("{:?}", &self.record[column]),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn labels() -> CsvReader {
        CsvReader::labels(Column::Last)
    }

    fn message(reader: &CsvReader, text: &[u8]) -> String {
        reader.read_from(text).unwrap_err().to_string()
    }

    #[test]
    fn reads_labels_and_values_from_any_column() {
        let text = b"1,-2.5e1,3\r\n\n 4 ,5,6" as &[u8];
        let set = labels().read_from(text).unwrap();
        assert_eq!(set.inputs().as_slice().unwrap(), [1.0, -25.0, 4.0, 5.0]);
        assert_eq!(set.labels().unwrap(), [3, 6]);
        let set = CsvReader::values(Column::Index(1)).read_from(text).unwrap();
        assert_eq!(set.inputs().as_slice().unwrap(), [1.0, 3.0, 4.0, 6.0]);
        let kernels::Targets::Values(values) = set.targets() else {
            panic!("values became labels");
        };
        assert_eq!(values.as_slice().unwrap(), [-25.0, 5.0]);
    }

    #[test]
    fn finds_columns_by_name_and_other_delimiters() {
        let text = "\u{feff}\"kind\";\"a; b\"\n1;0.5\n0;1.5\n";
        let reader = CsvReader::labels(Column::Name("kind".into()))
            .header(true)
            .delimiter(b';');
        let set = reader.read_from(text.as_bytes()).unwrap();
        assert_eq!(set.labels().unwrap(), [1, 0]);
        assert_eq!(set.inputs().as_slice().unwrap(), [0.5, 1.5]);
    }

    #[test]
    fn says_what_is_wrong_and_where() {
        let named = CsvReader::labels(Column::Name("y".into()));
        for (reader, text, expected) in [
            (
                labels(),
                "1,2,0\n1,x,0",
                r#"line 2, column 2: expected a finite number, got "x""#,
            ),
            (
                labels(),
                "1,,0",
                r#"line 1, column 2: expected a finite number, got """#,
            ),
            (
                labels(),
                "1,NaN,0",
                r#"line 1, column 2: expected a finite number, got "NaN""#,
            ),
            (
                labels(),
                "\n1,1e39,0",
                r#"line 2, column 2: expected a finite number, got "1e39""#,
            ),
            (
                labels(),
                "1,-1",
                r#"line 1, column 2: expected a label, a whole number from 0, got "-1""#,
            ),
            (
                labels(),
                "1,2,0\n1,0",
                "line 2: expected 3 cells, as in the first line, got 2",
            ),
            (
                labels(),
                "",
                "line 1: expected a line of cells, got an empty file",
            ),
            (
                labels().header(true),
                "a,b\n1,2,3",
                "line 2: expected 2 cells, as in the first line, got 3",
            ),
            (
                named.clone().header(true),
                "a,b",
                r#"line 1: expected a column named "y", got a, b"#,
            ),
            (
                named.clone().header(true),
                "y,a,y\n1,2,0",
                r#"line 1: expected columns of different names, got "y" in columns 1 and 3"#,
            ),
            (
                named,
                "a,y\n1,0",
                "line 1: expected a header, to find the column by its name, \
                 got a reader that was told there is none",
            ),
            (
                CsvReader::labels(Column::Index(2)),
                "1,0",
                "line 1: expected a column 2, counted from 0, got 2 columns",
            ),
        ] {
            let got = message(&reader, text.as_bytes());
            assert_eq!(got, format!("CSV data, {expected}"), "{text:?}");
        }
    }

    #[test]
    fn no_samples_no_features_and_broken_text_are_errors() {
        let with_header = labels().header(true);
        assert!(message(&with_header, b"a,b").contains("at least one sample"));
        assert!(message(&labels(), b"1\n0").contains("at least one sample and one column"));
        assert!(message(&labels(), b"1,2\n\xff\xfe,0").contains("line 2: expected UTF-8 text"));
        assert!(labels().read("no/such/file.csv").is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_read_whole_or_refused(text in "[0-9,.; xe\"\r\n-]{0,40}") {
            for header in [false, true] {
                if let Ok(set) = labels().header(header).read_from(text.as_bytes())
                    && !text.contains('"')
                {
                    let lines = text.split(['\r', '\n']).filter(|line| !line.is_empty()).count();
                    prop_assert_eq!(set.n_samples() + usize::from(header), lines);
                }
            }
        }

        #[test]
        fn numbers_come_back_as_written(
            rows in prop::collection::vec((-1e30f32..1e30, -1e-30f32..1e-30, 0u32..1000), 1..20)
        ) {
            let text: String = rows.iter().map(|(a, b, y)| format!("{a},{b:e},{y}\n")).collect();
            let set = labels().read_from(text.as_bytes()).unwrap();
            for (i, (a, b, y)) in rows.into_iter().enumerate() {
                prop_assert_eq!(set.inputs().row(i).unwrap(), [a, b]);
                prop_assert_eq!(set.labels().unwrap()[i], y);
            }
        }
    }
}
