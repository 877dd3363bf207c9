//! The kernels of one instruction set, chosen once.
//!
//! Every vector kernel is written once, as a [`WithSimd`] generic over the registers of an
//! instruction set. [`VectorTable::of`] instantiates all of them for one [`Level`]; each [`Isa`] has
//! one static [`Kernels`] with its table. A call through the table costs one indirect jump.

use std::fmt;
use std::sync::OnceLock;

use pulp::{Simd, WithSimd};

use crate::attention::{FinishRows, GradientTile, RowDots, SoftmaxTile};
use crate::bf16::Bf16Unit;
use crate::counter_rng::ApplyDropout;
use crate::elementwise::{
    ActivationBackward, ActivationForward, Add, Axpy, ErfForward, ExpForward, Scale,
};
use crate::embedding::{Gather, Scatter};
use crate::error::KernelError;
use crate::gemm::GemmKernels;
use crate::isa::{self, Isa};
use crate::level::{Level, Scalar};
use crate::loss::CrossEntropy;
use crate::loss::pointwise::PointwiseLosses;
use crate::norm::{
    BatchNorm, BatchNormBackward, BatchNormPredict, LayerNorm, LayerNormBackward,
    LayerNormParameters,
};
use crate::reduce::{ColumnSums, Max, Sum, SumSquares};
use crate::softmax::{Softmax, SoftmaxBackward};
use crate::update::{AdamUpdate, MomentumUpdate, RmspropUpdate, SgdUpdate};

/// Runs a kernel with the registers of a level.
///
/// # Safety
/// The CPU has the instruction set of the level.
unsafe fn run<L: Level, K: WithSimd>(kernel: K) -> K::Output {
    // SAFETY: the caller vouches for the CPU.
    let token = unsafe { L::token() };
    token.vectorize(kernel)
}

/// One entry per vector operation, all of one instruction set. Callers have checked the shapes.
///
/// The entries are safe to call because the table stands for a promise: who makes one lets it be
/// reached only where the CPU has the instruction set.
pub(crate) struct VectorTable {
    pub(crate) erf: fn(ErfForward<'_>),
    pub(crate) exp: fn(ExpForward<'_>),
    pub(crate) activation_forward: fn(ActivationForward<'_>),
    pub(crate) activation_backward: fn(ActivationBackward<'_>),
    pub(crate) add: fn(Add<'_>),
    pub(crate) axpy: fn(Axpy<'_>),
    pub(crate) dropout: fn(ApplyDropout<'_>),
    pub(crate) scale: fn(Scale<'_>),
    pub(crate) sum: fn(Sum<'_>) -> f32,
    pub(crate) sum_squares: fn(SumSquares<'_>) -> f32,
    pub(crate) max: fn(Max<'_>) -> f32,
    pub(crate) column_sums: fn(ColumnSums<'_>),
    pub(crate) softmax: fn(Softmax<'_>),
    pub(crate) softmax_backward: fn(SoftmaxBackward<'_>),
    pub(crate) cross_entropy: fn(CrossEntropy<'_>),
    pub(crate) pointwise_loss: fn(PointwiseLosses<'_>),
    pub(crate) sgd: fn(SgdUpdate<'_>),
    pub(crate) momentum: fn(MomentumUpdate<'_>),
    pub(crate) adam: fn(AdamUpdate<'_>),
    pub(crate) rmsprop: fn(RmspropUpdate<'_>),
    pub(crate) attention_softmax: fn(SoftmaxTile<'_>),
    pub(crate) attention_finish: fn(FinishRows<'_>),
    pub(crate) attention_gradient: fn(GradientTile<'_>),
    pub(crate) row_dots: fn(RowDots<'_>),
    pub(crate) gather: fn(Gather<'_>),
    pub(crate) scatter: fn(Scatter<'_>),
    pub(crate) layer_norm: fn(LayerNorm<'_>),
    pub(crate) layer_norm_backward: fn(LayerNormBackward<'_>),
    pub(crate) layer_norm_parameters: fn(LayerNormParameters<'_>),
    pub(crate) batch_norm: fn(BatchNorm<'_>),
    pub(crate) batch_norm_predict: fn(BatchNormPredict<'_>),
    pub(crate) batch_norm_backward: fn(BatchNormBackward<'_>),
}

impl VectorTable {
    /// The table of a level.
    ///
    /// # Safety
    /// No entry is called unless the CPU has the instruction set of the level.
    const unsafe fn of<L: Level>() -> Self {
        // SAFETY: `run` is reached by a call of an entry alone, before which the caller has seen that
        // the CPU has the instruction set.
        unsafe {
            Self {
                erf: |kernel| run::<L, _>(kernel),
                exp: |kernel| run::<L, _>(kernel),
                activation_forward: |kernel| run::<L, _>(kernel),
                activation_backward: |kernel| run::<L, _>(kernel),
                add: |kernel| run::<L, _>(kernel),
                axpy: |kernel| run::<L, _>(kernel),
                dropout: |kernel| run::<L, _>(kernel),
                scale: |kernel| run::<L, _>(kernel),
                sum: |kernel| run::<L, _>(kernel),
                sum_squares: |kernel| run::<L, _>(kernel),
                max: |kernel| run::<L, _>(kernel),
                column_sums: |kernel| run::<L, _>(kernel),
                softmax: |kernel| run::<L, _>(kernel),
                softmax_backward: |kernel| run::<L, _>(kernel),
                cross_entropy: |kernel| run::<L, _>(kernel),
                pointwise_loss: |kernel| run::<L, _>(kernel),
                sgd: |kernel| run::<L, _>(kernel),
                momentum: |kernel| run::<L, _>(kernel),
                adam: |kernel| run::<L, _>(kernel),
                rmsprop: |kernel| run::<L, _>(kernel),
                attention_softmax: |kernel| run::<L, _>(kernel),
                attention_finish: |kernel| run::<L, _>(kernel),
                attention_gradient: |kernel| run::<L, _>(kernel),
                row_dots: |kernel| run::<L, _>(kernel),
                gather: |kernel| run::<L, _>(kernel),
                scatter: |kernel| run::<L, _>(kernel),
                layer_norm: |kernel| run::<L, _>(kernel),
                layer_norm_backward: |kernel| run::<L, _>(kernel),
                layer_norm_parameters: |kernel| run::<L, _>(kernel),
                batch_norm: |kernel| run::<L, _>(kernel),
                batch_norm_predict: |kernel| run::<L, _>(kernel),
                batch_norm_backward: |kernel| run::<L, _>(kernel),
            }
        }
    }
}

/// The routines of this crate for one instruction set.
///
/// All operations are methods: [`Kernels::gemm`] and the vector operations. A value exists only for
/// an instruction set that this CPU has.
pub struct Kernels {
    isa: Isa,
    pub(crate) vector: VectorTable,
    pub(crate) gemm: &'static GemmKernels,
    /// What multiplies bf16 numbers faster than f32 ones, if there is something.
    pub(crate) bf16: Option<Bf16Unit>,
}

/// The kernels of an instruction set, and with them those that have the model of a matrix unit.
type Pair = [Kernels; 2];

impl Kernels {
    /// The kernels of a level.
    ///
    /// # Safety
    /// As [`VectorTable::of`], and for [`Bf16Unit::Amx`], that the unit was granted, for [`Bf16Unit::Dot`] that
    /// the CPU has the instruction.
    const unsafe fn pair_of<L: Level>(isa: Isa, bf16: Option<Bf16Unit>) -> Pair {
        // SAFETY: this function's contract.
        unsafe {
            [
                Self {
                    isa,
                    vector: VectorTable::of::<L>(),
                    gemm: GemmKernels::of(isa),
                    bf16,
                },
                Self {
                    isa,
                    vector: VectorTable::of::<L>(),
                    gemm: GemmKernels::of(isa),
                    bf16: Some(Bf16Unit::Model),
                },
            ]
        }
    }
}

// SAFETY: every CPU has it.
static SCALAR: Pair = unsafe { Kernels::pair_of::<Scalar>(Isa::Scalar, None) };

// SAFETY: nothing names this static but `Kernels::pair`, whose callers have asked the CPU.
#[cfg(target_arch = "x86_64")]
static AVX2: Pair = unsafe { Kernels::pair_of::<crate::level::Avx2>(Isa::Avx2, None) };

// SAFETY: as for AVX2.
#[cfg(target_arch = "x86_64")]
static AVX512: Pair = unsafe { Kernels::pair_of::<crate::level::Avx512>(Isa::Avx512, None) };

// SAFETY: as for AVX2; `Isa::Avx512Bf16` is supported only where the instruction is there.
#[cfg(target_arch = "x86_64")]
static AVX512_BF16: Pair =
    unsafe { Kernels::pair_of::<crate::level::Avx512>(Isa::Avx512Bf16, Some(Bf16Unit::Dot)) };

// SAFETY: as for AVX2; `Isa::Amx` is supported only where the unit was granted.
#[cfg(target_arch = "x86_64")]
static AMX: Pair =
    unsafe { Kernels::pair_of::<crate::level::Avx512>(Isa::Amx, Some(Bf16Unit::Amx)) };

// SAFETY: as for AVX2.
#[cfg(target_arch = "aarch64")]
static NEON: Pair = unsafe { Kernels::pair_of::<crate::level::Neon>(Isa::Neon, None) };

/// `KERNELS_TILES=model` computes with the model of a matrix unit, `refused` as if the operating system had
/// refused it; for tests of this project.
const TILES: &str = "KERNELS_TILES";

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
                // What is no Unicode is no word that is known either: it must be heard, and refused.
                let word =
                    |name| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned());
                let (cap, ensure) = (word("KERNELS_ISA"), word("KERNELS_ENSURE_ISA"));
                let isa = isa::choose(Isa::standing, cap.as_deref(), ensure.as_deref())?;
                match word(TILES).as_deref() {
                    None | Some("" | "model" | "refused") => Self::for_isa(isa),
                    Some(got) => Err(KernelError::Parameter {
                        op: "detect",
                        name: TILES,
                        expected: "model or refused",
                        got: got.to_owned(),
                    }),
                }
            })
            .clone()
    }

    /// The kernels of one instruction set, whatever the environment says.
    ///
    /// # Errors
    /// [`KernelError::MissingIsa`] if this CPU does not have it.
    pub fn for_isa(wanted: Isa) -> Result<&'static Self, KernelError> {
        static BY_MODEL: OnceLock<bool> = OnceLock::new();
        let by_model =
            BY_MODEL.get_or_init(|| std::env::var_os(TILES).is_some_and(|word| word == "model"));
        let [plain, model] = Self::pair(wanted)?;
        Ok(if *by_model { model } else { plain })
    }

    /// The same kernels with the model of a matrix unit, which computes what AMX would, bit for bit and
    /// slowly: for tests.
    ///
    /// # Panics
    /// Never: kernels exist only for what the CPU has.
    #[doc(hidden)]
    pub fn with_tile_model(&self) -> &'static Self {
        let [_, model] = Self::pair(self.isa).expect("this instruction set runs");
        model
    }

    /// The kernels of one instruction set.
    ///
    /// # Errors
    /// [`KernelError::MissingIsa`] if this CPU does not have it.
    fn pair(wanted: Isa) -> Result<&'static Pair, KernelError> {
        let pair = match wanted {
            Isa::Scalar => Some(&SCALAR),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => Some(&AVX2),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => Some(&AVX512),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Bf16 => Some(&AVX512_BF16),
            #[cfg(target_arch = "x86_64")]
            Isa::Amx => Some(&AMX),
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => Some(&NEON),
            _ => None,
        };
        pair.filter(|_| wanted.is_supported())
            .ok_or_else(|| KernelError::MissingIsa {
                wanted,
                best: isa::choose(Isa::standing, None, None).unwrap_or(Isa::Scalar),
            })
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

impl fmt::Debug for Kernels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kernels({})", self.isa)
    }
}
