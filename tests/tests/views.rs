//! The checked constructors of views, against every index written out.

use std::collections::HashSet;

use kernels::{KernelError, MatMut, MatRef};
use tests::cases::check_each;

/// Arguments of `with_strides` over a slice of `len` elements.
#[derive(Clone, Copy, Debug)]
struct Args {
    len: usize,
    offset: usize,
    rows: usize,
    cols: usize,
    row_stride: isize,
    col_stride: isize,
}

impl Args {
    /// The place of every element, row by row; without limits, so that it may lie anywhere.
    fn places(&self) -> Vec<i128> {
        let place = |i, j| {
            self.offset as i128
                + i as i128 * self.row_stride as i128
                + j as i128 * self.col_stride as i128
        };
        (0..self.rows)
            .flat_map(|i| (0..self.cols).map(move |j| place(i, j)))
            .collect()
    }

    fn view<'a>(&self, data: &'a [u32]) -> Result<MatRef<'a, u32>, KernelError> {
        MatRef::with_strides(
            data,
            self.offset,
            self.rows,
            self.cols,
            self.row_stride,
            self.col_stride,
        )
    }

    fn view_mut<'a>(&self, data: &'a mut [u32]) -> Result<MatMut<'a, u32>, KernelError> {
        MatMut::with_strides(
            data,
            self.offset,
            self.rows,
            self.cols,
            self.row_stride,
            self.col_stride,
        )
    }
}

/// All small combinations.
fn every_small_view() -> Vec<Args> {
    let mut all = Vec::new();
    for len in [0, 1, 2, 5, 9, 12] {
        for offset in 0..=len + 1 {
            for (rows, cols) in (0..=3).flat_map(|rows| (0..=4).map(move |cols| (rows, cols))) {
                for row_stride in -5..=5 {
                    for col_stride in -5..=5 {
                        all.push(Args {
                            len,
                            offset,
                            rows,
                            cols,
                            row_stride,
                            col_stride,
                        });
                    }
                }
            }
        }
    }
    all
}

#[test]
fn sizes_and_strides_at_their_limits_are_refused() {
    let data = [0; 4];
    let (far, back) = (isize::MAX, isize::MIN);
    let mut cases = Vec::new();
    for (row_stride, col_stride) in [
        (back, back),
        (back, far),
        (far, back),
        (far, far),
        (1, back),
    ] {
        for (rows, cols) in [
            (usize::MAX, usize::MAX),
            (usize::MAX, 2),
            (2, usize::MAX),
            (2, 2),
        ] {
            for offset in [0, 3, usize::MAX] {
                cases.push(Args {
                    len: data.len(),
                    offset,
                    rows,
                    cols,
                    row_stride,
                    col_stride,
                });
            }
        }
    }
    check_each(cases, |args| match args.view(&data) {
        Err(KernelError::OutOfBounds { .. }) => Ok(()),
        other => Err(format!("got {other:?}")),
    });
}

#[test]
fn a_view_is_made_exactly_when_every_element_lies_in_the_slice() {
    let mut made = 0;
    check_each(every_small_view(), |args| {
        let data: Vec<u32> = (0..args.len as u32).collect();
        let places = args.places();
        let fits = args.offset <= args.len
            && places
                .iter()
                .all(|place| (0..args.len as i128).contains(place));
        match args.view(&data) {
            Ok(view) if fits => {
                made += 1;
                let got = (0..args.rows).flat_map(|i| (0..args.cols).map(move |j| (i, j)));
                let got: Vec<i128> = got.map(|(i, j)| i128::from(*view.at(i, j))).collect();
                if got != places {
                    return Err(format!("elements {got:?}, expected {places:?}"));
                }
                let transposed = view.t();
                if args.rows * args.cols > 0
                    && *transposed.at(args.cols - 1, 0) as i128 != places[args.cols - 1]
                {
                    return Err("the transpose is another matrix".to_owned());
                }
                Ok(())
            }
            Err(KernelError::OutOfBounds { .. }) if !fits => Ok(()),
            other => Err(format!("fits: {fits}, got {other:?}")),
        }
    });
    assert!(
        made > 1000,
        "{made} views were made: the table misses its purpose"
    );
}

#[test]
fn a_mutable_view_never_has_two_elements_in_one_place() {
    let (mut made, mut refused) = (0, 0);
    check_each(every_small_view(), |args| {
        let mut data = vec![0; args.len];
        let fits = args.view(&vec![0; args.len]).is_ok();
        let places = args.places();
        let distinct = places.iter().collect::<HashSet<_>>().len() == places.len();
        match args.view_mut(&mut data) {
            Ok(mut view) if fits && distinct => {
                made += 1;
                for i in 0..args.rows {
                    for j in 0..args.cols {
                        *view.at_mut(i, j) += 1;
                    }
                }
                let written = data.iter().filter(|&&x| x == 1).count();
                if written == args.rows * args.cols {
                    Ok(())
                } else {
                    Err(format!("{written} places were written"))
                }
            }
            Err(KernelError::Overlap { .. }) if fits => {
                // Interleaved strides may be refused although no two elements meet.
                refused += usize::from(distinct);
                Ok(())
            }
            Err(KernelError::OutOfBounds { .. }) if !fits => Ok(()),
            other => Err(format!("fits: {fits}, distinct: {distinct}, got {other:?}")),
        }
    });
    assert!(
        made > 1000 && refused < made,
        "{made} made, {refused} refused for caution"
    );
}

#[test]
fn strides_and_sizes_at_the_end_of_the_number_range_are_refused() {
    let args = |offset, rows, cols, row_stride, col_stride| Args {
        len: 4,
        offset,
        rows,
        cols,
        row_stride,
        col_stride,
    };
    let cases = [
        args(0, usize::MAX, usize::MAX, 1, 1),
        args(0, 2, 2, isize::MAX, isize::MAX),
        args(0, 2, 2, isize::MIN, isize::MIN),
        args(0, usize::MAX, 2, isize::MAX, 1),
        args(usize::MAX, 1, 1, 1, 1),
        args(usize::MAX, 0, 0, 1, 1),
    ];
    check_each(cases, |args| {
        match (args.view(&[0; 4]), args.view_mut(&mut [0; 4])) {
            (Err(KernelError::OutOfBounds { .. }), Err(KernelError::OutOfBounds { .. })) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
}

#[test]
fn messages_name_what_was_asked_and_what_there_is() {
    let text = MatRef::from_row_major(&[0.0f32; 5], 2, 3)
        .unwrap_err()
        .to_string();
    for word in ["2 x 3", "row stride 3", "0 to 5", "the slice has 5"] {
        assert!(text.contains(word), "{text:?} lacks {word:?}");
    }
    let text = MatMut::with_strides(&mut [0.0f32; 9], 0, 2, 3, 2, 1)
        .unwrap_err()
        .to_string();
    for word in ["2 x 3", "row stride 2", "column stride 1", "overlap"] {
        assert!(text.contains(word), "{text:?} lacks {word:?}");
    }
}

/// Element (i, j) of this view is `10 i + j`; between its rows lie two elements that are 99.
fn padded() -> Vec<u32> {
    (0..4)
        .flat_map(|i| [10 * i, 10 * i + 1, 10 * i + 2, 99, 99])
        .collect()
}

#[test]
fn parts_rows_and_slices() {
    let data = padded();
    let view = MatRef::with_strides(&data, 0, 4, 3, 5, 1).expect("4 rows of 5");
    let part = view.part(1..3, 1..3);
    assert_eq!((part.rows(), part.cols()), (2, 2));
    assert_eq!((part.row_stride(), part.col_stride()), (5, 1));
    assert_eq!([*part.at(0, 0), *part.at(1, 1)], [11, 22]);
    assert_eq!(view.row(2), Some(&[20, 21, 22][..]));
    assert_eq!(part.row(1), Some(&[21, 22][..]));
    assert_eq!(view.t().row(0), None);
    assert_eq!(view.as_slice(), None);
    assert_eq!(view.part(3..4, 0..3).as_slice(), Some(&[30, 31, 32][..]));
    assert_eq!(view.part(2..2, 0..3).as_slice(), Some(&[][..]));
    let dense = MatRef::from_row_major(&data, 2, 10).expect("20 elements");
    assert_eq!(dense.as_slice(), Some(&data[..]));
}

#[test]
fn writing_through_parts_and_transposes() {
    let mut data = padded();
    let mut view = MatMut::with_strides(&mut data, 0, 4, 3, 5, 1).expect("4 rows of 5");
    *view.reborrow().part(2..4, 1..3).at_mut(0, 1) = 7;
    *view.reborrow().t().at_mut(0, 3) = 8;
    view.row_mut(1).expect("contiguous").fill(9);
    assert_eq!(*view.as_ref().at(2, 2), 7);
    let mut expected = padded();
    (expected[12], expected[15]) = (7, 8);
    expected[5..8].fill(9);
    assert_eq!(data, expected);
}

#[test]
fn columns_on_both_sides_of_a_split_are_written_apart() {
    let mut data: Vec<u32> = vec![0; 12];
    for at in 0..=4 {
        let view = MatMut::from_row_major(&mut data, 3, 4).expect("12 elements");
        let (mut left, mut right) = view.split_at_col(at);
        assert_eq!((left.cols(), right.cols()), (at, 4 - at));
        for i in 0..3 {
            left.row_mut(i).expect("contiguous").fill(1);
            right.row_mut(i).expect("contiguous").fill(2);
        }
        let left = left.into_ref();
        assert!((0..3).all(|i| (0..at).all(|j| *left.at(i, j) == 1)));
        let expected = |place: usize| if place % 4 < at { 1 } else { 2 };
        assert!(
            data.iter()
                .enumerate()
                .all(|(place, &x)| x == expected(place))
        );
    }
}

#[test]
fn a_mutable_slice_is_there_exactly_when_rows_lie_together() {
    let mut data: Vec<u32> = (0..12).collect();
    let mut whole = MatMut::from_row_major(&mut data, 3, 4).expect("12 elements");
    assert_eq!(whole.as_mut_slice().map(|all| all.len()), Some(12));
    let rows = whole
        .reborrow()
        .part(1..3, 0..4)
        .as_mut_slice()
        .map(|rows| rows[0]);
    assert_eq!(rows, Some(4));
    assert!(whole.reborrow().part(0..2, 0..3).as_mut_slice().is_none());
    assert_eq!(whole.part(0..3, 2..2).as_mut_slice(), Some(&mut [][..]));
}

#[test]
#[should_panic(expected = "(2, 0) in 2 x 3")]
fn an_element_outside_is_a_bug_of_the_caller() {
    let data = [0.0f32; 6];
    let view = MatRef::from_row_major(&data, 2, 3).expect("6 elements");
    let _ = view.at(2, 0);
}

#[test]
#[should_panic(expected = "columns 1..4 of a view of 2 x 3")]
fn a_part_outside_is_a_bug_of_the_caller() {
    let data = [0.0f32; 6];
    let view = MatRef::from_row_major(&data, 2, 3).expect("6 elements");
    let _ = view.part(0..2, 1..4);
}
