//! Loops over slices that treat each element alone: activations and their gradients, exp, axpy,
//! scaling.
//!
//! The functions on one register ([`activate`], [`derivative`]) are what the epilogues of the GEMM
//! use, so that a fused layer gives the bits of an unfused one.

use pulp::{Simd, WithSimd};

use crate::activation::{Activation, PerActivation, specialise};
use crate::math;
use crate::math::smooth;

/// `act(x)` on one register.
#[inline(always)]
pub(crate) fn activate<S: Simd>(s: S, activation: Activation, x: S::f32s) -> S::f32s {
    match activation {
        Activation::Identity => x,
        Activation::Relu => math::at_least(s, s.splat_f32s(0.0), x),
        Activation::LeakyRelu { negative_slope } => {
            let positive = s.greater_than_f32s(x, s.splat_f32s(0.0));
            let scaled = s.mul_f32s(x, s.splat_f32s(negative_slope));
            s.select_f32s(positive, x, scaled)
        }
        Activation::Sigmoid => math::sigmoid(s, x),
        Activation::Tanh => math::tanh(s, x),
        Activation::Elu { alpha } => smooth::elu(s, alpha, x),
        Activation::Softplus => smooth::softplus(s, x),
        Activation::Gelu => smooth::gelu(s, x),
        Activation::GeluTanh => smooth::gelu_tanh(s, x),
        Activation::Silu => smooth::silu(s, x),
    }
}

/// `act'(x)` on one register, from what [`Activation::derivative_from`] names.
#[inline(always)]
pub(crate) fn derivative<S: Simd>(s: S, activation: Activation, saved: S::f32s) -> S::f32s {
    let one = s.splat_f32s(1.0);
    let positive = s.greater_than_f32s(saved, s.splat_f32s(0.0));
    match activation {
        Activation::Identity => one,
        Activation::Relu => s.select_f32s(positive, one, s.splat_f32s(0.0)),
        Activation::LeakyRelu { negative_slope } => {
            s.select_f32s(positive, one, s.splat_f32s(negative_slope))
        }
        Activation::Sigmoid => s.negate_mul_add_e_f32s(saved, saved, saved),
        Activation::Tanh => s.negate_mul_add_e_f32s(saved, saved, one),
        Activation::Elu { alpha } => {
            s.select_f32s(positive, one, s.add_f32s(saved, s.splat_f32s(alpha)))
        }
        Activation::Softplus => smooth::softplus_derivative(s, saved),
        Activation::Gelu => smooth::gelu_derivative(s, saved),
        Activation::GeluTanh => smooth::gelu_tanh_derivative(s, saved),
        Activation::Silu => smooth::silu_derivative(s, saved),
    }
}

/// A function of one element, given for a register of them.
trait Unary: Copy {
    fn on<S: Simd>(self, s: S, x: S::f32s) -> S::f32s;
}

/// A function of two elements, given for registers of them.
trait Binary: Copy {
    fn on<S: Simd>(self, s: S, a: S::f32s, b: S::f32s) -> S::f32s;
}

/// `y = f(x)`
#[inline(always)]
fn map<S: Simd>(s: S, f: impl Unary, x: &[f32], y: &mut [f32]) {
    let (x, x_tail) = S::as_simd_f32s(x);
    let (y, y_tail) = S::as_mut_simd_f32s(y);
    for (y, &x) in y.iter_mut().zip(x) {
        *y = f.on(s, x);
    }
    if !x_tail.is_empty() {
        let last = f.on(s, s.partial_load_f32s(x_tail));
        s.partial_store_f32s(y_tail, last);
    }
}

/// `y = f(a, b)`
#[inline(always)]
fn map_two<S: Simd>(s: S, f: impl Binary, a: &[f32], b: &[f32], y: &mut [f32]) {
    let (a, a_tail) = S::as_simd_f32s(a);
    let (b, b_tail) = S::as_simd_f32s(b);
    let (y, y_tail) = S::as_mut_simd_f32s(y);
    for ((y, &a), &b) in y.iter_mut().zip(a).zip(b) {
        *y = f.on(s, a, b);
    }
    if !a_tail.is_empty() {
        let last = f.on(s, s.partial_load_f32s(a_tail), s.partial_load_f32s(b_tail));
        s.partial_store_f32s(y_tail, last);
    }
}

/// `y = f(x, y)`
#[inline(always)]
fn update<S: Simd>(s: S, f: impl Binary, x: &[f32], y: &mut [f32]) {
    let (x, x_tail) = S::as_simd_f32s(x);
    let (y, y_tail) = S::as_mut_simd_f32s(y);
    for (y, &x) in y.iter_mut().zip(x) {
        *y = f.on(s, x, *y);
    }
    if !x_tail.is_empty() {
        let last = f.on(s, s.partial_load_f32s(x_tail), s.partial_load_f32s(y_tail));
        s.partial_store_f32s(y_tail, last);
    }
}

#[derive(Clone, Copy)]
struct Exp;

impl Unary for Exp {
    #[inline(always)]
    fn on<S: Simd>(self, s: S, x: S::f32s) -> S::f32s {
        math::exp(s, x)
    }
}

#[derive(Clone, Copy)]
struct Erf;

impl Unary for Erf {
    #[inline(always)]
    fn on<S: Simd>(self, s: S, x: S::f32s) -> S::f32s {
        smooth::erf(s, x)
    }
}

#[derive(Clone, Copy)]
struct Activate(Activation);

impl Unary for Activate {
    #[inline(always)]
    fn on<S: Simd>(self, s: S, x: S::f32s) -> S::f32s {
        activate(s, self.0, x)
    }
}

/// `(saved, dy) -> dy * act'(x)`
#[derive(Clone, Copy)]
struct Gradient(Activation);

impl Binary for Gradient {
    #[inline(always)]
    fn on<S: Simd>(self, s: S, saved: S::f32s, dy: S::f32s) -> S::f32s {
        s.mul_f32s(dy, derivative(s, self.0, saved))
    }
}

/// `(a, b) -> a + b`
#[derive(Clone, Copy)]
struct Plus;

impl Binary for Plus {
    #[inline(always)]
    fn on<S: Simd>(self, s: S, a: S::f32s, b: S::f32s) -> S::f32s {
        s.add_f32s(a, b)
    }
}

/// `(x, y) -> y + alpha x`
#[derive(Clone, Copy)]
struct AddScaled(f32);

impl Binary for AddScaled {
    #[inline(always)]
    fn on<S: Simd>(self, s: S, x: S::f32s, y: S::f32s) -> S::f32s {
        s.mul_add_e_f32s(s.splat_f32s(self.0), x, y)
    }
}

/// `y = e^x`
pub(crate) struct ExpForward<'a> {
    pub(crate) x: &'a [f32],
    pub(crate) y: &'a mut [f32],
}

impl WithSimd for ExpForward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        map(s, Exp, self.x, self.y);
    }
}

/// `y = erf(x)`
pub(crate) struct ErfForward<'a> {
    pub(crate) x: &'a [f32],
    pub(crate) y: &'a mut [f32],
}

impl WithSimd for ErfForward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        map(s, Erf, self.x, self.y);
    }
}

/// `y = act(x)`
pub(crate) struct ActivationForward<'a> {
    pub(crate) activation: Activation,
    pub(crate) x: &'a [f32],
    pub(crate) y: &'a mut [f32],
}

/// [`ActivationForward`] of an activation that is known.
struct Forward<'a, S> {
    s: S,
    x: &'a [f32],
    y: &'a mut [f32],
}

impl<S: Simd> PerActivation for Forward<'_, S> {
    #[inline(always)]
    fn run(self, activation: Activation) {
        match activation {
            Activation::Identity => self.y.copy_from_slice(self.x),
            _ => map(self.s, Activate(activation), self.x, self.y),
        }
    }
}

impl WithSimd for ActivationForward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        let Self { activation, x, y } = self;
        specialise(activation, Forward { s, x, y });
    }
}

/// `dx = dy * act'(x)`
pub(crate) struct ActivationBackward<'a> {
    pub(crate) activation: Activation,
    pub(crate) saved: &'a [f32],
    pub(crate) dy: &'a [f32],
    pub(crate) dx: &'a mut [f32],
}

/// [`ActivationBackward`] of an activation that is known.
struct Backward<'a, S> {
    s: S,
    saved: &'a [f32],
    dy: &'a [f32],
    dx: &'a mut [f32],
}

impl<S: Simd> PerActivation for Backward<'_, S> {
    #[inline(always)]
    fn run(self, activation: Activation) {
        match activation {
            Activation::Identity => self.dx.copy_from_slice(self.dy),
            _ => map_two(self.s, Gradient(activation), self.saved, self.dy, self.dx),
        }
    }
}

impl WithSimd for ActivationBackward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        let Self {
            activation,
            saved,
            dy,
            dx,
        } = self;
        specialise(activation, Backward { s, saved, dy, dx });
    }
}

/// `y = a + b`
pub(crate) struct Add<'a> {
    pub(crate) a: &'a [f32],
    pub(crate) b: &'a [f32],
    pub(crate) y: &'a mut [f32],
}

impl WithSimd for Add<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        map_two(s, Plus, self.a, self.b, self.y);
    }
}

/// `y += alpha x`
pub(crate) struct Axpy<'a> {
    pub(crate) alpha: f32,
    pub(crate) x: &'a [f32],
    pub(crate) y: &'a mut [f32],
}

impl WithSimd for Axpy<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        update(s, AddScaled(self.alpha), self.x, self.y);
    }
}

/// `x *= alpha`
pub(crate) struct Scale<'a> {
    pub(crate) alpha: f32,
    pub(crate) x: &'a mut [f32],
}

impl WithSimd for Scale<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        let alpha = s.splat_f32s(self.alpha);
        let (x, tail) = S::as_mut_simd_f32s(self.x);
        for x in x {
            *x = s.mul_f32s(*x, alpha);
        }
        if !tail.is_empty() {
            let last = s.mul_f32s(s.partial_load_f32s(tail), alpha);
            s.partial_store_f32s(tail, last);
        }
    }
}
