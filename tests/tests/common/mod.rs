//! What tests of the kernels share: the instruction sets to go through, and views of test matrices.

use kernels::{Kernels, MatMut, MatRef};
use tests::layout::Guarded;

/// The kernels of every instruction set of this machine.
pub(crate) fn available() -> Vec<&'static Kernels> {
    Kernels::available().expect("the environment asks for what this machine has")
}

/// A read-only view of a guarded matrix.
pub(crate) fn view(x: &Guarded) -> MatRef<'_> {
    MatRef::with_strides(
        &x.data,
        x.offset,
        x.rows,
        x.cols,
        x.row_stride,
        x.col_stride,
    )
    .expect("the buffer was made for these strides")
}

/// A mutable view of a guarded matrix.
pub(crate) fn view_mut(x: &mut Guarded) -> MatMut<'_> {
    MatMut::with_strides(
        &mut x.data,
        x.offset,
        x.rows,
        x.cols,
        x.row_stride,
        x.col_stride,
    )
    .expect("the buffer was made for these strides")
}
