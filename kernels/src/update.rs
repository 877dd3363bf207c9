//! Loops of the optimiser updates over slices of parameters; the formulas are in
//! [`crate::update_rule`].

use pulp::{Simd, WithSimd};

use crate::lanes::{Row, RowMut, Tail, Together, TogetherMut};
use crate::update_rule::{
    Adam, AdamConstants, Momentum, Rmsprop, RmspropMemory, RmspropRule, Sgd, SgdRule,
};

/// One step of gradient descent without momentum.
pub(crate) struct SgdUpdate<'a> {
    pub(crate) rule: SgdRule,
    pub(crate) grads: &'a [f32],
    pub(crate) params: &'a mut [f32],
}

impl WithSimd for SgdUpdate<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        let rule = Sgd::new(s, self.rule);
        let (grads, grads_tail) = S::as_simd_f32s(self.grads);
        let (params, params_tail) = S::as_mut_simd_f32s(self.params);
        for (w, &g) in params.iter_mut().zip(grads) {
            *w = rule.step(s, g, *w);
        }
        if !params_tail.is_empty() {
            let w = rule.step(
                s,
                s.partial_load_f32s(grads_tail),
                s.partial_load_f32s(params_tail),
            );
            s.partial_store_f32s(params_tail, w);
        }
    }
}

/// One step of gradient descent with momentum, Nesterov's or the plain one.
pub(crate) struct MomentumUpdate<'a> {
    pub(crate) rule: SgdRule,
    pub(crate) grads: &'a [f32],
    pub(crate) velocity: &'a mut [f32],
    pub(crate) params: &'a mut [f32],
}

impl WithSimd for MomentumUpdate<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        let rule = Momentum::new(s, self.rule);
        let (grads, grads_tail) = S::as_simd_f32s(self.grads);
        let (velocity, velocity_tail) = S::as_mut_simd_f32s(self.velocity);
        let (params, params_tail) = S::as_mut_simd_f32s(self.params);
        for ((w, v), &g) in params.iter_mut().zip(velocity).zip(grads) {
            (*v, *w) = rule.step(s, g, *v, *w);
        }
        if !params_tail.is_empty() {
            let (v, w) = rule.step(
                s,
                s.partial_load_f32s(grads_tail),
                s.partial_load_f32s(velocity_tail),
                s.partial_load_f32s(params_tail),
            );
            s.partial_store_f32s(velocity_tail, v);
            s.partial_store_f32s(params_tail, w);
        }
    }
}

/// One step of Adam.
pub(crate) struct AdamUpdate<'a> {
    pub(crate) constants: AdamConstants,
    pub(crate) grads: &'a [f32],
    pub(crate) first_moment: &'a mut [f32],
    pub(crate) second_moment: &'a mut [f32],
    pub(crate) params: &'a mut [f32],
}

impl WithSimd for AdamUpdate<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        let rule = Adam::new(s, self.constants);
        let (grads, grads_tail) = S::as_simd_f32s(self.grads);
        let (first, first_tail) = S::as_mut_simd_f32s(self.first_moment);
        let (second, second_tail) = S::as_mut_simd_f32s(self.second_moment);
        let (params, params_tail) = S::as_mut_simd_f32s(self.params);
        for (((w, m), v), &g) in params.iter_mut().zip(first).zip(second).zip(grads) {
            (*m, *v, *w) = rule.step(s, g, *m, *v, *w);
        }
        if !params_tail.is_empty() {
            let (m, v, w) = rule.step(
                s,
                s.partial_load_f32s(grads_tail),
                s.partial_load_f32s(first_tail),
                s.partial_load_f32s(second_tail),
                s.partial_load_f32s(params_tail),
            );
            s.partial_store_f32s(first_tail, m);
            s.partial_store_f32s(second_tail, v);
            s.partial_store_f32s(params_tail, w);
        }
    }
}

/// One step of RMSprop; the first moment is empty if it is not centered, the velocity if there is
/// none.
pub(crate) struct RmspropUpdate<'a> {
    pub(crate) rule: RmspropRule,
    pub(crate) grads: &'a [f32],
    pub(crate) second_moment: &'a mut [f32],
    pub(crate) first_moment: &'a mut [f32],
    pub(crate) velocity: &'a mut [f32],
    pub(crate) params: &'a mut [f32],
}

impl WithSimd for RmspropUpdate<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        let rule = Rmsprop::new(s, self.rule);
        let tail = Tail::of_row(s, self.params.len());
        let grads = Together::new(self.grads, tail);
        let mut second = TogetherMut::new(self.second_moment, tail);
        let mut first = TogetherMut::new(self.first_moment, tail);
        let mut velocity = TogetherMut::new(self.velocity, tail);
        let mut params = TogetherMut::new(self.params, tail);
        for index in 0..grads.registers() {
            let zero = s.splat_f32s(0.0);
            let mut memory = RmspropMemory {
                second_moment: second.reader().load(s, index, 0.0),
                first_moment: zero,
                velocity: zero,
            };
            if rule.centered {
                memory.first_moment = first.reader().load(s, index, 0.0);
            }
            if rule.has_velocity {
                memory.velocity = velocity.reader().load(s, index, 0.0);
            }
            let w = params.reader().load(s, index, 0.0);
            let (memory, w) = rule.step(s, grads.load(s, index, 0.0), memory, w);
            second.store(s, index, memory.second_moment);
            if rule.centered {
                first.store(s, index, memory.first_moment);
            }
            if rule.has_velocity {
                velocity.store(s, index, memory.velocity);
            }
            params.store(s, index, w);
        }
    }
}
