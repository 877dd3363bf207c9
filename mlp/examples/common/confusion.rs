//! Which classes are taken for which.

use std::fmt;

/// Counts of (true class, answer) pairs, one row for each true class.
#[derive(Debug, Default)]
pub(crate) struct Confusion {
    counts: Vec<Vec<usize>>,
}

impl FromIterator<(u32, u32)> for Confusion {
    fn from_iter<I: IntoIterator<Item = (u32, u32)>>(pairs: I) -> Self {
        let mut counts: Vec<Vec<usize>> = Vec::new();
        for (class, answer) in pairs {
            let (class, answer) = (class as usize, answer as usize);
            let needed = counts.len().max(class.max(answer) + 1);
            counts.resize_with(needed, Vec::new);
            for row in &mut counts {
                row.resize(needed, 0);
            }
            counts[class][answer] += 1;
        }
        Self { counts }
    }
}

impl fmt::Display for Confusion {
    /// A table with a dot for each zero, so that the mistakes stand out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "    ")?;
        for answer in 0..self.counts.len() {
            write!(f, "{answer:>5}")?;
        }
        for (class, row) in self.counts.iter().enumerate() {
            write!(f, "\n{class:>4}")?;
            for &count in row {
                match count {
                    0 => write!(f, "{:>5}", '.')?,
                    _ => write!(f, "{count:>5}")?,
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_classes_and_columns_are_answers() {
        let confusion: Confusion = [(0, 0), (0, 2), (2, 2), (2, 2)].into_iter().collect();
        let expected = [
            "        0    1    2",
            "   0    1    .    1",
            "   1    .    .    .",
            "   2    .    .    2",
        ];
        assert_eq!(confusion.to_string(), expected.join("\n"));
    }
}
