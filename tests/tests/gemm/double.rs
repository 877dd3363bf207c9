//! Products in f64.

use kernels::{Kernels, MatMut, MatRef, Team, Workspace};
use tests::cases::check_each;
use tests::gemm::gemm;
use tests::matrix::Matrix;
use tests::shapes::{block_shapes, small_shapes};
use tests::tolerance;
use tests::values::Values;

use crate::case::available;

/// How much smaller the unit roundoff of f64 is than that of f32.
const F64_OVER_F32: f64 = f64::EPSILON / f32::EPSILON as f64;

/// `2 A B - C / 2` for A and B stored by rows or by columns, against the reference, which rounds as
/// often itself.
fn one(kernels: &Kernels, [m, n, k]: [usize; 3], by_columns: bool) -> Result<(), String> {
    let mut values = Values::new((m * 31 + n * 7 + k) as u64);
    let (a, b, old) = (
        values.matrix(m, k),
        values.matrix(k, n),
        values.matrix(m, n),
    );
    let expected = gemm(2.0, &a, &b, -0.5, &old);
    let stored = |x: &Matrix| match by_columns {
        false => x.data.clone(),
        true => Matrix::from_fn(x.cols, x.rows, |i, j| x.data[j * x.cols + i]).data,
    };
    let (a_data, b_data) = (stored(&a), stored(&b));
    let view = |data, rows, cols| -> MatRef<'_, f64> {
        let made = match by_columns {
            false => MatRef::from_row_major(data, rows, cols),
            true => MatRef::from_row_major(data, cols, rows).map(MatRef::t),
        };
        made.expect("as many elements as the matrix has")
    };
    let mut c = old.data.clone();
    kernels
        .gemm_f64(
            2.0,
            view(&a_data, m, k),
            view(&b_data, k, n),
            -0.5,
            MatMut::from_row_major(&mut c, m, n).expect("m n elements"),
            &mut Workspace::new(),
            &Team::solo(),
        )
        .map_err(|error| error.to_string())?;
    for (at, &got) in c.iter().enumerate() {
        let (want, magnitude) = (expected.value.data[at], expected.magnitude.data[at]);
        let bound = 2.0 * F64_OVER_F32 * tolerance::gemm(k, magnitude);
        if (got - want).abs() > bound {
            return Err(format!(
                "{}: element {at} is {got}, not {want}",
                kernels.isa()
            ));
        }
    }
    Ok(())
}

#[test]
fn every_instruction_set_keeps_the_precision_of_f64() {
    let mut shapes = small_shapes(100, 0x6401);
    shapes.extend(block_shapes(&[8, 16, 48, 144]));
    shapes.push([70, 130, 513]);
    check_each(shapes, |&shape| {
        for kernels in available() {
            one(kernels, shape, false)?;
            one(kernels, shape, true)?;
        }
        Ok(())
    });
}
