//! The order of an epoch, cut into mini-batches, and the gathering of their rows.
//!
//! The order is a Fisher-Yates shuffle of `0..n` by a stream of its own for each epoch: a function
//! of (seed, epoch) alone, so that training can stop and go on anywhere.

use kernels::{MatMut, MatRef, Targets, Team, gather_rows};
use rand::seq::SliceRandom;

use super::error::DataError;
use super::samples::Data;
use crate::rng::{self, Purpose};

/// The samples of an epoch in the order in which they are visited, `batch_size` at a time.
///
/// ```
/// use mlp::Batches;
///
/// let mut batches = Batches::new(5, 2, 42)?;
/// for epoch in 0..3 {
///     batches.shuffle(epoch);
///     assert_eq!(batches.iter().map(<[_]>::len).collect::<Vec<_>>(), [2, 2, 1]);
/// }
/// # Ok::<(), mlp::DataError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Batches {
    order: Vec<usize>,
    batch_size: usize,
    seed: u64,
    drop_last: bool,
}

impl Batches {
    /// All samples in their own order, until [`Batches::shuffle`] is called.
    ///
    /// # Errors
    /// [`DataError::Setting`] if there are no samples, or more than there is memory to number them, or
    /// `batch_size` is 0.
    pub fn new(n_samples: usize, batch_size: usize, seed: u64) -> Result<Self, DataError> {
        for (what, got) in [("n_samples", n_samples), ("batch_size", batch_size)] {
            if got == 0 {
                return Err(DataError::Setting {
                    what,
                    expected: "at least 1".to_owned(),
                    got: got.to_string(),
                });
            }
        }
        let mut order = Vec::new();
        if order.try_reserve_exact(n_samples).is_err() {
            return Err(DataError::Setting {
                what: "n_samples",
                expected: "no more than there is memory to number them".to_owned(),
                got: n_samples.to_string(),
            });
        }
        order.extend(0..n_samples);
        Ok(Self {
            order,
            batch_size,
            seed,
            drop_last: false,
        })
    }

    /// Whether a last batch that would be smaller than the others is left out of each epoch; its samples
    /// come into other epochs if these are shuffled. A batch that is the only one stays.
    #[must_use]
    pub fn drop_last(mut self, drop_last: bool) -> Self {
        self.drop_last = drop_last;
        self
    }

    /// Samples of a batch.
    pub(crate) fn batch_size(&self) -> usize {
        self.batch_size
    }

    /// The number of samples of an epoch.
    pub(crate) fn visited(&self) -> usize {
        let all = self.order.len();
        match all % self.batch_size {
            rest if self.drop_last && rest < all => all - rest,
            _ => all,
        }
    }

    /// Takes the order of an epoch, whatever the order was before; allocates nothing.
    pub fn shuffle(&mut self, epoch: u64) {
        for (position, index) in self.order.iter_mut().enumerate() {
            *index = position;
        }
        let mut stream = rng::stream(self.seed, Purpose::Shuffle, epoch);
        self.order.shuffle(&mut stream);
    }

    /// The samples of one batch after the other; the last batch may be smaller, unless
    /// [`Batches::drop_last`] says otherwise.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[usize]> {
        self.order[..self.visited()].chunks(self.batch_size)
    }
}

/// Memory for the rows of one batch, so that they lie side by side.
#[derive(Clone, Debug)]
pub struct BatchBuffer {
    batch_size: usize,
    n_features: usize,
    inputs: Vec<f32>,
    targets: TargetBuffer,
    /// As long as a batch if the data have weights, else empty.
    weights: Vec<f32>,
}

#[derive(Clone, Debug)]
enum TargetBuffer {
    Classes(Vec<u32>),
    Values { n_outputs: usize, values: Vec<f32> },
}

impl BatchBuffer {
    /// Room for `batch_size` samples of the kind of `data`.
    ///
    /// # Errors
    /// [`DataError::Setting`] if there is no memory for so many.
    pub fn new(data: Data<'_>, batch_size: usize) -> Result<Self, DataError> {
        Ok(Self {
            batch_size,
            n_features: data.n_features(),
            inputs: rows(batch_size, data.n_features())?,
            targets: match data.targets() {
                Targets::Values(values) => TargetBuffer::Values {
                    n_outputs: values.cols(),
                    values: rows(batch_size, values.cols())?,
                },
                _ => TargetBuffer::Classes(rows(batch_size, 1)?),
            },
            weights: rows(batch_size, usize::from(data.weights().is_some()))?,
        })
    }

    /// [`BatchBuffer::gather_with`] by the calling thread alone.
    ///
    /// # Errors
    /// As [`BatchBuffer::gather_with`].
    pub fn gather(&mut self, data: Data<'_>, rows: &[usize]) -> Result<Data<'_>, DataError> {
        self.gather_with(data, rows, &Team::solo())
    }

    /// Copies the chosen rows, and lends them; the team shares the inputs. Allocates nothing.
    ///
    /// # Errors
    /// [`DataError::Setting`] if there are none or more than `batch_size`, [`DataError::Index`] if
    /// one does not exist, [`DataError::Columns`] or [`DataError::TargetKind`] if `data` is not of
    /// the kind that this buffer was made for.
    pub fn gather_with(
        &mut self,
        data: Data<'_>,
        rows: &[usize],
        team: &Team,
    ) -> Result<Data<'_>, DataError> {
        self.check_rows(data.n_samples(), rows)?;
        check_columns("gather inputs", self.n_features, data.n_features())?;
        let targets = match (&mut self.targets, data.targets()) {
            (TargetBuffer::Classes(buffer), Targets::Classes(labels)) => {
                let buffer = &mut buffer[..rows.len()];
                for (to, &row) in buffer.iter_mut().zip(rows) {
                    *to = labels[row];
                }
                Targets::Classes(buffer)
            }
            (TargetBuffer::Values { n_outputs, values }, Targets::Values(from)) => {
                check_columns("gather targets", *n_outputs, from.cols())?;
                Targets::Values(gathered(from, rows, values, team))
            }
            (buffer, _) => {
                let (expected, got) = match buffer {
                    TargetBuffer::Classes(_) => ("class labels", "values"),
                    TargetBuffer::Values { .. } => ("values", "class labels"),
                };
                return Err(DataError::TargetKind {
                    what: "gather",
                    expected,
                    got,
                });
            }
        };
        let inputs = gathered(data.inputs(), rows, &mut self.inputs, team);
        let weights = match data.weights() {
            // Made for data without weights, it grows once.
            Some(from) => {
                self.weights.resize(self.batch_size, 0.0);
                for (to, &row) in self.weights.iter_mut().zip(rows) {
                    *to = from[row];
                }
                Some(&self.weights[..rows.len()])
            }
            None => None,
        };
        Ok(Data::trusted(inputs, targets).with_trusted_weights(weights))
    }

    fn check_rows(&self, samples: usize, rows: &[usize]) -> Result<(), DataError> {
        if !(1..=self.batch_size).contains(&rows.len()) {
            return Err(DataError::Setting {
                what: "rows of a batch",
                expected: format!("1 to {}, the batch size", self.batch_size),
                got: rows.len().to_string(),
            });
        }
        match rows.iter().position(|&row| row >= samples) {
            None => Ok(()),
            Some(position) => Err(DataError::Index {
                what: "gather",
                index: rows[position],
                position,
                samples,
            }),
        }
    }
}

/// Memory for `batch_size` rows.
fn rows<T: Clone + Default>(batch_size: usize, cols: usize) -> Result<Vec<T>, DataError> {
    let mut memory = Vec::new();
    let len = batch_size.saturating_mul(cols);
    if memory.try_reserve_exact(len).is_err() {
        return Err(DataError::Setting {
            what: "batch_size",
            expected: format!("no more rows of {cols} than there is memory for"),
            got: batch_size.to_string(),
        });
    }
    memory.resize(len, T::default());
    Ok(memory)
}

fn check_columns(what: &'static str, expected: usize, got: usize) -> Result<(), DataError> {
    if expected == got {
        return Ok(());
    }
    Err(DataError::Columns {
        what,
        expected,
        got,
    })
}

/// Copies the chosen rows of `from` to the beginning of `to`, side by side.
fn gathered<'a>(from: MatRef<'_>, rows: &[usize], to: &'a mut [f32], team: &Team) -> MatRef<'a> {
    let cols = from.cols();
    let to = &mut to[..rows.len() * cols];
    let mut view = MatMut::from_row_major(to, rows.len(), cols).expect("cut to this shape");
    gather_rows(from, rows, view.reborrow(), team).expect("rows that were checked");
    view.into_ref()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_visits_every_sample_once() {
        let mut batches = Batches::new(103, 10, 9).unwrap();
        for epoch in 0..3 {
            batches.shuffle(epoch);
            assert_eq!(batches.iter().len(), 11);
            assert!(batches.iter().take(10).all(|batch| batch.len() == 10));
            let mut visited = batches.iter().collect::<Vec<_>>().concat();
            assert!(!visited.is_sorted());
            visited.sort_unstable();
            assert!(visited.into_iter().eq(0..103));
        }
    }

    #[test]
    fn a_short_last_batch_can_be_left_out() {
        for (samples, lengths) in [(7, &[3, 3][..]), (6, &[3, 3]), (3, &[3]), (2, &[2])] {
            let mut batches = Batches::new(samples, 3, 1).unwrap().drop_last(true);
            let mut seen = Vec::new();
            for epoch in 0..8 {
                batches.shuffle(epoch);
                assert!(batches.iter().map(<[_]>::len).eq(lengths.iter().copied()));
                assert_eq!(batches.visited(), lengths.iter().sum::<usize>());
                seen.extend(batches.iter().flatten().copied());
            }
            seen.sort_unstable();
            seen.dedup();
            // Another sample is left out of each epoch.
            assert_eq!(seen.len(), samples);
        }
    }

    #[test]
    fn the_order_depends_on_seed_and_epoch_alone() {
        let order = |seed, epochs: &[u64]| {
            let mut batches = Batches::new(50, 50, seed).unwrap();
            for &epoch in epochs {
                batches.shuffle(epoch);
            }
            batches.order
        };
        assert_eq!(order(1, &[0, 1, 2]), order(1, &[2]));
        assert_ne!(order(1, &[2]), order(1, &[3]));
        assert_ne!(order(1, &[2]), order(2, &[2]));
    }

    #[test]
    fn the_order_never_changes() {
        let mut batches = Batches::new(8, 8, 42).unwrap();
        batches.shuffle(1);
        assert_eq!(batches.order, [7, 0, 4, 6, 1, 5, 3, 2]);
    }

    #[test]
    fn gathers_rows_with_their_targets() {
        let x: Vec<f32> = (0..8u8).map(f32::from).collect();
        // Both a row-major view and one whose rows are not contiguous.
        let by_row = MatRef::from_row_major(&x, 4, 2).unwrap();
        let by_col = MatRef::from_row_major(&x, 2, 4).unwrap().t();
        for inputs in [by_row, by_col] {
            let data = Data::classes(inputs, &[10, 11, 12, 13]).unwrap();
            let mut buffer = BatchBuffer::new(data, 3).unwrap();
            let batch = buffer.gather(data, &[3, 0, 3]).unwrap();
            assert_eq!(batch.labels().unwrap(), [13, 10, 13]);
            for (i, row) in [3, 0, 3].into_iter().enumerate() {
                assert_eq!(batch.inputs().at(i, 0), inputs.at(row, 0));
                assert_eq!(batch.inputs().at(i, 1), inputs.at(row, 1));
            }
            assert_eq!(buffer.gather(data, &[1]).unwrap().n_samples(), 1);

            let data = Data::values(inputs, by_row).unwrap();
            let mut buffer = BatchBuffer::new(data, 3).unwrap();
            let Targets::Values(values) = buffer.gather(data, &[2, 1]).unwrap().targets() else {
                panic!("values became labels");
            };
            assert_eq!(values.as_slice().unwrap(), [4.0, 5.0, 2.0, 3.0]);
        }
    }

    #[test]
    fn says_what_does_not_fit() {
        let x = [0.0; 6];
        let wide = MatRef::from_row_major(&x, 2, 3).unwrap();
        let narrow = MatRef::from_row_major(&x, 2, 2).unwrap();
        let data = Data::classes(wide, &[0, 1]).unwrap();
        let other_kind = Data::values(wide, wide).unwrap();
        let mut buffer = BatchBuffer::new(data, 2).unwrap();
        let mut message = |data, rows| buffer.gather(data, rows).unwrap_err().to_string();
        assert_eq!(
            message(data, &[0, 2]),
            "gather: expected indices below 2, got 2 at position 1"
        );
        assert_eq!(
            message(data, &[0, 0, 0]),
            "rows of a batch: expected 1 to 2, the batch size, got 3"
        );
        assert_eq!(
            message(Data::classes(narrow, &[0, 1]).unwrap(), &[0]),
            "gather inputs: expected 3 columns, got 2"
        );
        assert_eq!(
            message(other_kind, &[0]),
            "gather: expected class labels as targets, got values"
        );
        let mut buffer = BatchBuffer::new(other_kind, 2).unwrap();
        let narrow = Data::values(wide, narrow).unwrap();
        assert_eq!(
            buffer.gather(narrow, &[0]).unwrap_err().to_string(),
            "gather targets: expected 3 columns, got 2"
        );
        assert_eq!(
            BatchBuffer::new(data, usize::MAX).unwrap_err().to_string(),
            format!(
                "batch_size: expected no more rows of 3 than there is memory for, got {}",
                usize::MAX
            )
        );
        for (samples, batch_size) in [(0, 1), (1, 0)] {
            assert!(Batches::new(samples, batch_size, 0).is_err());
        }
    }
}
