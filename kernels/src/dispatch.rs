//! The kernels of one instruction set, chosen once.

use std::sync::OnceLock;

use crate::error::KernelError;
use crate::isa::{self, Isa};

/// The routines of this crate for one instruction set.
///
/// All operations are methods: [`Kernels::gemm`] and the vector operations. A value exists only for
/// an instruction set that this CPU has.
#[derive(Debug)]
pub struct Kernels {
    isa: Isa,
}

static SCALAR: Kernels = Kernels { isa: Isa::Scalar };

impl Kernels {
    /// The best kernels that this CPU and the environment (see [`Isa`]) allow, chosen at the first
    /// call.
    ///
    /// # Errors
    /// [`KernelError::UnknownIsa`] or [`KernelError::MissingIsa`] if the environment asks for what
    /// cannot be had.
    pub fn detect() -> Result<&'static Self, KernelError> {
        static CHOSEN: OnceLock<Result<&'static Kernels, KernelError>> = OnceLock::new();
        CHOSEN
            .get_or_init(|| {
                let word = |name| std::env::var(name).ok();
                let (cap, ensure) = (word("KERNELS_ISA"), word("KERNELS_ENSURE_ISA"));
                let isa = isa::choose(Isa::is_supported, cap.as_deref(), ensure.as_deref())?;
                Self::for_isa(isa)
            })
            .clone()
    }

    /// The kernels of one instruction set, whatever the environment says.
    ///
    /// # Errors
    /// [`KernelError::MissingIsa`] if this CPU does not have it.
    pub fn for_isa(wanted: Isa) -> Result<&'static Self, KernelError> {
        match wanted {
            Isa::Scalar => Ok(&SCALAR),
            _ => Err(KernelError::MissingIsa {
                wanted,
                best: Isa::Scalar,
            }),
        }
    }

    /// The kernels of every instruction set up to [`Kernels::detect`]'s, lowest first: what a test
    /// has to go through.
    ///
    /// # Errors
    /// As [`Kernels::detect`].
    pub fn available() -> Result<Vec<&'static Self>, KernelError> {
        let best = Self::detect()?.isa;
        Ok(Isa::ALL
            .into_iter()
            .filter(|&isa| isa <= best)
            .filter_map(|isa| Self::for_isa(isa).ok())
            .collect())
    }

    /// The instruction set of these kernels.
    pub fn isa(&self) -> Isa {
        self.isa
    }
}
