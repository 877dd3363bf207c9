//! Which points make a law, whether it is the documented one, and where a cache that is full bends it.

use kernels::CpuInfo;
use serde::Serialize;

use super::sweep::Sweep;
use crate::args::NetworkArgs;
use crate::report::Beside;
use crate::stats::median;
use crate::stats::regression::{FixedCost, PowerLaw};

/// One network of a sweep, and what one pass of it took.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Point {
    pub(crate) network: NetworkArgs,
    /// What the fit is against: operations, or `batch sum d_l`.
    pub(crate) size: f64,
    /// Least bytes moved to and from memory, each operand once.
    pub(crate) bytes: f64,
    /// Nanoseconds; bytes of the arena for `memory`.
    pub(crate) measured: f64,
    pub(crate) measured_per_size: f64,
    /// The smallest cache that the bytes fit in, or `memory`.
    pub(crate) fits_in: &'static str,
    /// Beside the samples of a time.
    #[serde(flatten)]
    pub(crate) beside: Option<Beside>,
}

impl Point {
    pub(super) fn new(network: &NetworkArgs, size: f64, bytes: f64, measured: f64) -> Self {
        Self {
            network: network.clone(),
            size,
            bytes,
            measured,
            measured_per_size: measured / size,
            fits_in: level(bytes),
            beside: None,
        }
    }

    /// The same against something else.
    pub(super) fn against(&self, size: f64) -> Self {
        Self {
            size,
            measured_per_size: self.measured / size,
            ..self.clone()
        }
    }
}

/// How far an exponent may be from the documented one.
const TOLERANCE: f64 = 0.05;

/// Whether a law is the documented one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Agreement {
    /// The whole interval of the exponent is near it.
    Agrees,
    /// The same of what is left without a cost that each call has whatever its size.
    AgreesBeyondFixedCost,
    /// No part of the interval is near it.
    DoesNot,
    /// Some of the interval is.
    TooNoisy,
}

impl Agreement {
    /// The same for people.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Agrees => "agrees",
            Self::AgreesBeyondFixedCost => "agrees beyond a fixed cost",
            Self::DoesNot => "does not",
            Self::TooNoisy => "too noisy to say",
        }
    }

    fn of(law: &PowerLaw, documented: f64) -> Self {
        let (least, most) = (documented - TOLERANCE, documented + TOLERANCE);
        if law.low >= least && law.high <= most {
            Self::Agrees
        } else if law.high < least || law.low > most {
            Self::DoesNot
        } else {
            Self::TooNoisy
        }
    }

    /// Judges a law by the documented exponent, with the fixed cost beside it where there is one.
    pub(super) fn judge(law: &PowerLaw, fixed: Option<&FixedCost>, documented: f64) -> Self {
        match (Self::of(law, documented), fixed) {
            (Self::Agrees, _) | (_, None) => Self::of(law, documented),
            (_, Some(fixed)) => match Self::of(&fixed.beyond, documented) {
                Self::Agrees => Self::AgreesBeyondFixedCost,
                other => other,
            },
        }
    }
}

/// What leaving a cache costs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Bend {
    pub(super) from: &'static str,
    pub(super) to: &'static str,
    /// Median cost of an operation beyond the cache over that within.
    pub(super) cost_ratio: f64,
}

/// Levels of memory, with what the law of the sizes within each is called.
const LEVELS: [(&str, &str); 4] = [
    ("l1d", "in l1d"),
    ("l2", "in l2"),
    ("l3", "in l3"),
    ("memory", "in memory"),
];

/// The three sweeps together.
pub(super) const ALL: &str = "all";

/// Fewer points say nothing of the sizes within a level.
const POINTS_OF_A_LEVEL: usize = 4;

/// The smallest cache that so many bytes fit in.
fn level(bytes: f64) -> &'static str {
    let caches = CpuInfo::get().caches;
    let l3 = caches.l3.map_or(0, |l3| l3.bytes);
    let sizes = [caches.l1d.bytes, caches.l2.bytes, l3, usize::MAX];
    LEVELS
        .into_iter()
        .zip(sizes)
        .find(|(_, size)| bytes <= *size as f64)
        .map_or("memory", |((name, _), _)| name)
}

/// What an operation costs in each level over what it costs in the one before.
pub(super) fn bends(points: &[Point]) -> Vec<Bend> {
    let cost = |(level, _): (&'static str, _)| {
        let within = points.iter().filter(|point| point.fits_in == level);
        let costs: Vec<_> = within.map(|point| point.measured_per_size).collect();
        median(&costs).map(|cost| (level, cost))
    };
    let costs: Vec<_> = LEVELS.into_iter().filter_map(cost).collect();
    let bend = |pair: &[(&'static str, f64)]| Bend {
        from: pair[0].0,
        to: pair[1].0,
        cost_ratio: pair[1].1 / pair[0].1,
    };
    costs.windows(2).map(bend).collect()
}

pub(super) type Law = (&'static str, PowerLaw, Vec<Point>);

/// The law of all sweeps together, of each in which the size varies, and of the sizes within a level
/// if there is more than one.
pub(super) fn laws(all: &[(Sweep, Point)]) -> Vec<Law> {
    let of = |name, wanted: &dyn Fn(&(Sweep, Point)) -> bool, least: usize| {
        let points: Vec<_> = all
            .iter()
            .filter(|p| wanted(p))
            .map(|(_, p)| p.clone())
            .collect();
        let pairs: Vec<_> = points.iter().map(|p| (p.size, p.measured)).collect();
        let law = PowerLaw::fit(&pairs).filter(|_| pairs.len() >= least);
        law.map(|law| (name, law, points))
    };
    let is_one_level = all
        .iter()
        .all(|(_, point)| point.fits_in == all[0].1.fits_in);
    let mut laws = vec![of(ALL, &|_| true, 0)];
    for (name, within) in LEVELS.into_iter().filter(|_| !is_one_level) {
        let is_within = |(_, point): &(Sweep, Point)| point.fits_in == name;
        laws.push(of(within, &is_within, POINTS_OF_A_LEVEL));
    }
    for (name, wanted) in [
        ("width", Sweep::Width),
        ("depth", Sweep::Depth),
        ("batch", Sweep::Batch),
    ] {
        laws.push(of(name, &|(sweep, _)| *sweep == wanted, 0));
    }
    laws.into_iter().flatten().collect()
}

/// Whether a law is of the sizes within one level.
pub(super) fn is_within_a_level(name: &str) -> bool {
    LEVELS.iter().any(|(_, within)| *within == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_law_agrees_does_not_or_is_too_noisy() {
        for (low, high, expected) in [
            (0.97, 1.04, Agreement::Agrees),
            (0.93, 1.01, Agreement::TooNoisy),
            (0.5, 1.5, Agreement::TooNoisy),
            (1.06, 1.2, Agreement::DoesNot),
            (0.8, 0.94, Agreement::DoesNot),
        ] {
            let exponent = (low + high) / 2.0;
            let law = PowerLaw {
                exponent,
                low,
                high,
            };
            assert_eq!(Agreement::judge(&law, None, 1.0), expected, "{law:?}");
        }
    }

    #[test]
    fn a_fixed_cost_explains_an_exponent_below_one_and_a_power_is_not_explained() {
        let judge = |of: fn(f64) -> f64| {
            let points = [32.0, 64.0, 128.0, 256.0, 512.0, 1024.0].map(|x| (x, of(x)));
            let law = PowerLaw::fit(&points).expect("six points");
            let fixed = FixedCost::fit(&points, &law);
            (law.exponent, Agreement::judge(&law, fixed.as_ref(), 1.0))
        };
        let (exponent, agreement) = judge(|x| 20.0 + 1.5 * x);
        assert!(exponent < 0.92, "{exponent}");
        assert_eq!(agreement, Agreement::AgreesBeyondFixedCost);
        assert_eq!(judge(|x| x.powf(0.9)).1, Agreement::DoesNot);
        assert_eq!(judge(|x| 7.0 * x).1, Agreement::Agrees);
    }

    #[test]
    fn a_full_cache_bends_the_line_and_not_the_laws_on_its_sides() {
        let network = &Sweep::Width.networks()[0];
        let points: Vec<_> = (0..10)
            .map(|i| {
                let size = f64::from(1 << i);
                let (fits_in, cost) = if i < 5 { ("l2", 1.0) } else { ("l3", 3.0) };
                let measured = Point::new(network, size, 1.0, size * cost);
                (
                    Sweep::Width,
                    Point {
                        fits_in,
                        ..measured
                    },
                )
            })
            .collect();
        let laws = laws(&points);
        let names: Vec<_> = laws.iter().map(|(name, ..)| *name).collect();
        assert_eq!(names, ["all", "in l2", "in l3", "width"]);
        let exponents: Vec<_> = laws.iter().map(|(_, law, _)| law.exponent).collect();
        assert!(exponents[0] > 1.1, "{exponents:?}");
        assert!(
            exponents[1..3].iter().all(|e| (e - 1.0).abs() < 1e-9),
            "{exponents:?}"
        );
        let expected = Bend {
            from: "l2",
            to: "l3",
            cost_ratio: 3.0,
        };
        assert_eq!(bends(&laws[0].2), [expected]);
    }
}
