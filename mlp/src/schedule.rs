//! Schedules: factors on the learning rate, as functions of the number of steps or epochs made.
//!
//! With t that number and f the factor:
//!
//! | | |
//! |---|---|
//! | constant | `f = 1` |
//! | step | `f = g^floor(t / every)` |
//! | exponential | `f = g^t` |
//! | cosine | `f = last + (1 - last) (1 + cos(pi t / length)) / 2`, for `t > length` `f = last` |
//! | linear warm-up | `f = first + (1 - first) min(t / length, 1)` |
//! | one cycle | cosine arcs from 1/25 up to 1 at `t = 0.3 length - 1`, down to 4e-6 at `t = length - 1` |
//!
//! As PyTorch's `StepLR`, `ExponentialLR`, `CosineAnnealingLR`, `LinearLR` and `OneCycleLR` with their
//! defaults. A factor depends on t alone, so a training that is resumed needs no more than its counts;
//! [`ReduceOnPlateau`](crate::ReduceOnPlateau) alone has a memory, which is part of a snapshot.
//!
//! I. Loshchilov and F. Hutter, 2017, "SGDR: stochastic gradient descent with warm restarts",
//! equation 5. L. Smith and N. Topin, 2019, "Super-convergence".

use std::f64::consts::PI;

use crate::error::MlpError;

/// Where the one-cycle schedule begins, where it ends, and the share of it that goes up.
const ONE_CYCLE_FIRST: f64 = 1.0 / 25.0;
const ONE_CYCLE_LAST: f64 = ONE_CYCLE_FIRST / 1e4;
const ONE_CYCLE_UP: f64 = 0.3;

/// How the learning rate changes in a training: a factor on that of the optimiser.
///
/// In [`fit`](crate::Mlp::fit) it counts epochs unless [`Schedule::per_step`] is called; a
/// [`Trainer`](crate::Trainer), whose loop may have no epochs, takes one that says what it counts.
///
/// ```
/// use mlp::{Schedule, TrainConfig};
/// // Five epochs up, then down along a cosine over ninety-five.
/// let schedule = Schedule::warmup(5, 0.1).then(5, Schedule::cosine(95, 0.0));
/// assert_eq!(schedule.factor(0), 0.1);
/// assert_eq!(schedule.factor(5), 1.0);
/// assert!((schedule.factor(5 + 95 / 3) - 0.75).abs() < 0.02);
/// let config = TrainConfig::default().schedule(schedule);
/// ```
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub struct Schedule {
    first: Shape,
    /// What follows, in the order of the calls of [`Schedule::then`]. A list, however many there are:
    /// nothing here calls itself once for each part.
    parts: Vec<Part>,
    unit: Option<Unit>,
}

/// What a schedule counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Step,
    Epoch,
}

#[derive(Clone, Debug, PartialEq)]
enum Shape {
    Constant,
    Step { every: u64, factor: f32 },
    Exponential { factor: f32 },
    Cosine { length: u64, last: f32 },
    Warmup { length: u64, first: f32 },
    OneCycle { length: u64 },
}

/// A part of a schedule that is not its first.
#[derive(Clone, Debug, PartialEq)]
struct Part {
    /// The count it starts from: it rules from there on, unless a part behind it in the list does.
    start: u64,
    /// The same since the start of the schedule that it was a part of: what the caller gave.
    at: u64,
    shape: Shape,
}

impl Schedule {
    fn new(shape: Shape) -> Self {
        Self {
            first: shape,
            parts: Vec::new(),
            unit: None,
        }
    }

    /// Always 1.
    ///
    /// ```
    /// assert_eq!(mlp::Schedule::constant().factor(1000), 1.0);
    /// ```
    pub fn constant() -> Self {
        Self::new(Shape::Constant)
    }

    /// `factor^floor(t / every)`: every so many counts the rate is multiplied by `factor`, above 0 and
    /// finite; `every` is at least 1.
    ///
    /// ```
    /// let schedule = mlp::Schedule::step(30, 0.5);
    /// assert_eq!([29, 30, 60].map(|t| schedule.factor(t)), [1.0, 0.5, 0.25]);
    /// ```
    pub fn step(every: u64, factor: f32) -> Self {
        Self::new(Shape::Step { every, factor })
    }

    /// `factor^t`, with `factor` above 0 and finite.
    ///
    /// ```
    /// let schedule = mlp::Schedule::exponential(0.5);
    /// assert_eq!([0, 1, 3].map(|t| schedule.factor(t)), [1.0, 0.5, 0.125]);
    /// ```
    pub fn exponential(factor: f32) -> Self {
        Self::new(Shape::Exponential { factor })
    }

    /// Half a cosine from 1 down to `last`, which is finite and at least 0, over `length` counts, at
    /// least 1; afterwards `last`.
    ///
    /// ```
    /// let schedule = mlp::Schedule::cosine(100, 0.0);
    /// assert_eq!([0, 50, 100, 200].map(|t| schedule.factor(t)), [1.0, 0.5, 0.0, 0.0]);
    /// ```
    pub fn cosine(length: u64, last: f32) -> Self {
        Self::new(Shape::Cosine { length, last })
    }

    /// A straight line from `first`, which is finite and at least 0, to 1 over `length` counts, at
    /// least 1; afterwards 1.
    ///
    /// ```
    /// let schedule = mlp::Schedule::warmup(4, 0.0);
    /// assert_eq!([0, 1, 4, 9].map(|t| schedule.factor(t)), [0.0, 0.25, 1.0, 1.0]);
    /// ```
    pub fn warmup(length: u64, first: f32) -> Self {
        Self::new(Shape::Warmup { length, first })
    }

    /// One cycle of `length` counts, at least 4: from 1/25 up to 1 along a cosine in the first 30 %,
    /// then down to 1/250,000; the learning rate of the optimiser is the highest. Usually per step.
    ///
    /// ```
    /// let schedule = mlp::Schedule::one_cycle(1000).per_step();
    /// assert_eq!([0, 299].map(|t| schedule.factor(t)), [0.04, 1.0]);
    /// assert!(schedule.factor(999) < 1e-5);
    /// ```
    pub fn one_cycle(length: u64) -> Self {
        Self::new(Shape::OneCycle { length })
    }

    /// From count `at` on (at least 1) another schedule, which starts from 0 there.
    ///
    /// The whole counts steps or epochs as `self` does.
    ///
    /// ```
    /// use mlp::Schedule;
    /// let schedule = Schedule::warmup(2, 0.5).then(2, Schedule::exponential(0.5));
    /// assert_eq!([0, 1, 2, 3].map(|t| schedule.factor(t)), [0.5, 0.75, 1.0, 0.5]);
    /// ```
    pub fn then(mut self, at: u64, next: Self) -> Self {
        self.parts.push(Part {
            start: at,
            at,
            shape: next.first,
        });
        self.parts.extend(next.parts.into_iter().map(|part| Part {
            start: at.saturating_add(part.start),
            ..part
        }));
        self
    }

    /// Counts steps.
    pub fn per_step(mut self) -> Self {
        self.unit = Some(Unit::Step);
        self
    }

    /// Counts epochs.
    pub fn per_epoch(mut self) -> Self {
        self.unit = Some(Unit::Epoch);
        self
    }

    /// The factor after `count` steps or epochs.
    ///
    /// # Complexity
    /// Looks at each part that has not begun, and at the one that rules.
    pub fn factor(&self, count: u64) -> f32 {
        let ruling = self.parts.iter().rev().find(|part| part.start <= count);
        let factor = match ruling {
            Some(part) => part.shape.factor(count - part.start),
            None => self.first.factor(count),
        };
        factor as f32
    }

    /// The factor after so many steps and epochs.
    pub(crate) fn at(&self, steps: u64, epochs: u64) -> f32 {
        self.factor(match self.unit {
            Some(Unit::Step) => steps,
            Some(Unit::Epoch) | None => epochs,
        })
    }

    /// Counts epochs unless something else was said.
    pub(crate) fn or_per_epoch(mut self) -> Self {
        self.unit = self.unit.or(Some(Unit::Epoch));
        self
    }

    /// Checks that it says what it counts, if that makes a difference.
    pub(crate) fn check_unit(&self) -> Result<(), MlpError> {
        if self.unit.is_some() || (self.first == Shape::Constant && self.parts.is_empty()) {
            return Ok(());
        }
        Err(MlpError::Setting {
            name: "schedule",
            expected: "per_step(), or per_epoch() in a loop that tells the ends of epochs",
            got: "neither".into(),
        })
    }

    /// Checks the settings.
    pub(crate) fn check(&self) -> Result<(), MlpError> {
        self.first.check()?;
        for part in &self.parts {
            at_least("schedule: at", part.at, 1, "at least 1")?;
            part.shape.check()?;
        }
        Ok(())
    }
}

/// Half a cosine from `from` at a share of 0 to `to` at a share of 1.
fn arc(from: f64, to: f64, share: f64) -> f64 {
    to + (from - to) * (1.0 + (PI * share).cos()) / 2.0
}

impl Shape {
    fn factor(&self, count: u64) -> f64 {
        let t = count as f64;
        match *self {
            Self::Constant => 1.0,
            Self::Step { every, factor } => f64::from(factor).powf((count / every.max(1)) as f64),
            Self::Exponential { factor } => f64::from(factor).powf(t),
            Self::Cosine { length, last } => {
                arc(1.0, f64::from(last), (t / length as f64).min(1.0))
            }
            Self::Warmup { length, first } => {
                let first = f64::from(first);
                first + (1.0 - first) * (t / length as f64).min(1.0)
            }
            Self::OneCycle { length } => {
                let top = ONE_CYCLE_UP * length as f64 - 1.0;
                let end = length as f64 - 1.0;
                if t <= top {
                    arc(ONE_CYCLE_FIRST, 1.0, t / top)
                } else {
                    arc(1.0, ONE_CYCLE_LAST, (t.min(end) - top) / (end - top))
                }
            }
        }
    }

    fn check(&self) -> Result<(), MlpError> {
        match *self {
            Self::Constant => Ok(()),
            Self::Step { every, factor } => {
                at_least("schedule: every", every, 1, "at least 1")?;
                positive("schedule: factor", factor)
            }
            Self::Exponential { factor } => positive("schedule: factor", factor),
            Self::Cosine { length, last } => {
                at_least("schedule: length", length, 1, "at least 1")?;
                not_negative("schedule: last", last)
            }
            Self::Warmup { length, first } => {
                at_least("schedule: length", length, 1, "at least 1")?;
                not_negative("schedule: first", first)
            }
            // Of three, 30 % end before they begin.
            Self::OneCycle { length } => at_least("schedule: length", length, 4, "at least 4"),
        }
    }
}

fn at_least(
    name: &'static str,
    value: u64,
    least: u64,
    expected: &'static str,
) -> Result<(), MlpError> {
    refuse_unless(value >= least, name, expected, value)
}

fn positive(name: &'static str, value: f32) -> Result<(), MlpError> {
    let good = value > 0.0 && value.is_finite();
    refuse_unless(good, name, "a finite number above 0", value)
}

pub(crate) fn not_negative(name: &'static str, value: f32) -> Result<(), MlpError> {
    let good = value >= 0.0 && value.is_finite();
    refuse_unless(good, name, "a finite number of at least 0", value)
}

fn refuse_unless(
    good: bool,
    name: &'static str,
    expected: &'static str,
    got: impl ToString,
) -> Result<(), MlpError> {
    if good {
        return Ok(());
    }
    Err(MlpError::Setting {
        name,
        expected,
        got: got.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use approx::assert_relative_eq;

    #[track_caller]
    fn check(schedule: &Schedule, expected: &[(u64, f32)]) {
        for &(count, factor) in expected {
            assert_relative_eq!(
                schedule.factor(count),
                factor,
                max_relative = 1e-6,
                epsilon = 1e-9
            );
        }
    }

    /// As many as no stack has room for.
    #[test]
    fn any_number_of_parts_follow_each_other() {
        let parts = 300_000;
        let long = (1..=parts).fold(Schedule::constant(), |schedule, at| {
            schedule.then(at, Schedule::cosine(1, 0.25))
        });
        let long = long.per_step();
        long.check().unwrap();
        assert_eq!(long.clone(), long);
        assert_eq!(
            [0, 7, parts, parts + 1].map(|t| long.factor(t)),
            [1.0, 1.0, 1.0, 0.25]
        );
        let bad = long.then(
            parts + 1,
            Schedule::constant().then(0, Schedule::constant()),
        );
        assert!(bad.check().is_err());
    }

    #[test]
    fn parts_of_parts_count_from_their_own_start() {
        let inner = || Schedule::exponential(0.5).then(2, Schedule::step(1, 0.1));
        let whole = Schedule::constant().then(3, inner());
        let expected = [1.0, 1.0, 1.0, 1.0, 0.5, 1.0, 0.1];
        check(
            &whole,
            &[0, 1, 2, 3, 4, 5, 6].map(|t| (t, expected[t as usize])),
        );
        // One that starts before those given earlier leaves them no time.
        let whole = whole.then(1, Schedule::exponential(0.5));
        check(&whole, &[(0, 1.0), (1, 1.0), (2, 0.5), (6, 1.0 / 32.0)]);
    }

    #[test]
    fn factors_by_hand() {
        check(&Schedule::constant(), &[(0, 1.0), (1 << 60, 1.0)]);
        check(
            &Schedule::step(3, 0.5),
            &[(0, 1.0), (2, 1.0), (3, 0.5), (6, 0.25), (8, 0.25)],
        );
        check(
            &Schedule::exponential(0.5),
            &[(0, 1.0), (1, 0.5), (10, 2f32.powi(-10))],
        );
        check(
            &Schedule::cosine(8, 0.5),
            &[(0, 1.0), (4, 0.75), (8, 0.5), (9, 0.5), (16, 0.5)],
        );
        check(
            &Schedule::warmup(4, 0.2),
            &[(0, 0.2), (1, 0.4), (3, 0.8), (4, 1.0), (9, 1.0)],
        );
        // Up to count 2, down to count 9.
        check(
            &Schedule::one_cycle(10),
            &[
                (0, 0.04),
                (1, 0.52),
                (2, 1.0),
                (9, 4e-6),
                (10, 4e-6),
                (99, 4e-6),
            ],
        );
    }

    #[test]
    fn one_follows_the_other_from_its_own_beginning() {
        let schedule = Schedule::warmup(2, 0.5)
            .then(4, Schedule::exponential(0.5))
            .then(6, Schedule::constant());
        check(
            &schedule,
            &[
                (0, 0.5),
                (1, 0.75),
                (3, 1.0),
                (4, 1.0),
                (5, 0.5),
                (6, 1.0),
                (9, 1.0),
            ],
        );
    }

    #[test]
    fn counts_steps_or_epochs() {
        let schedule = Schedule::exponential(0.5);
        assert_eq!(schedule.at(3, 1), 0.5);
        assert_eq!(schedule.clone().per_step().at(3, 1), 0.125);
        assert_eq!(schedule.per_step().per_epoch().at(3, 1), 0.5);
    }

    #[test]
    fn says_what_is_out_of_range() {
        let number = "expected a finite number";
        for (schedule, expected) in [
            (
                Schedule::step(0, 0.5),
                "schedule: every: expected at least 1, got 0".into(),
            ),
            (
                Schedule::step(1, -0.5),
                format!("schedule: factor: {number} above 0, got -0.5"),
            ),
            (
                Schedule::exponential(f32::INFINITY),
                format!("schedule: factor: {number} above 0, got inf"),
            ),
            (
                Schedule::cosine(0, 0.0),
                "schedule: length: expected at least 1, got 0".into(),
            ),
            (
                Schedule::cosine(1, -1.0),
                format!("schedule: last: {number} of at least 0, got -1"),
            ),
            (
                Schedule::warmup(5, f32::NAN),
                format!("schedule: first: {number} of at least 0, got NaN"),
            ),
            (
                Schedule::one_cycle(3),
                "schedule: length: expected at least 4, got 3".into(),
            ),
            (
                Schedule::constant().then(0, Schedule::constant()),
                "schedule: at: expected at least 1, got 0".into(),
            ),
            (
                Schedule::constant().then(5, Schedule::step(0, 1.0)),
                "schedule: every: expected at least 1, got 0".into(),
            ),
        ] {
            assert_eq!(schedule.check().unwrap_err().to_string(), expected);
        }
    }
}
