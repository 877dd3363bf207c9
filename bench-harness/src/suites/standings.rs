//! Who wins a table of shapes, and by how much.

use std::io;

use crate::report::print_line;

/// The peer that took the least time, as a multiple of ours.
pub(super) fn fastest(ratios: &[(String, f64)]) -> Option<(&str, f64)> {
    ratios
        .iter()
        .map(|(name, ratio)| (name.as_str(), *ratio))
        .min_by(|(_, a), (_, b)| a.total_cmp(b))
}

/// How each peer did over several cases: its time as a multiple of ours.
#[derive(Debug, Default)]
pub(super) struct Standings {
    peers: Vec<(String, Vec<f64>)>,
    /// The best peer of each case.
    best: Vec<f64>,
}

impl Standings {
    /// Adds a case: each peer that was timed, and its ratio.
    pub(super) fn add(&mut self, case: Vec<(String, f64)>) {
        self.best.extend(fastest(&case).map(|(_, ratio)| ratio));
        for (name, ratio) in case {
            match self.peers.iter_mut().find(|(known, _)| *known == name) {
                Some((_, ratios)) => ratios.push(ratio),
                None => self.peers.push((name, vec![ratio])),
            }
        }
    }

    /// Who won one case, for people.
    pub(super) fn words(name: &str, ratio: f64) -> String {
        if ratio >= 1.0 {
            format!("ours wins: {name} comes next, at {ratio:.3} times our time")
        } else {
            format!("{name} wins, at {ratio:.3} times our time")
        }
    }

    /// The table: geometric means and the worst case, where there was more than one case.
    pub(super) fn print(&self) -> io::Result<()> {
        if self.best.len() < 2 {
            return Ok(());
        }
        let best = ("best of them per case".to_owned(), self.best.clone());
        print_line(&format!(
            "\ntime over ours, {} cases: geometric mean, least, most",
            self.best.len()
        ))?;
        for (name, ratios) in self.peers.iter().chain([&best]) {
            let Some(summary) = Summary::of(ratios) else {
                continue;
            };
            print_line(&format!(
                "{name:<24} {:>7.3} {:>7.3} {:>7.3}  ours is faster in {} of {}",
                summary.mean,
                summary.least,
                summary.most,
                summary.above,
                ratios.len()
            ))?;
        }
        Ok(())
    }
}

/// Of several ratios.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Summary {
    /// The geometric mean.
    mean: f64,
    least: f64,
    most: f64,
    /// How many are above 1.
    above: usize,
}

impl Summary {
    fn of(ratios: &[f64]) -> Option<Self> {
        let logs: f64 = ratios.iter().map(|ratio| ratio.ln()).sum();
        Some(Self {
            mean: (logs / ratios.len() as f64).exp(),
            least: ratios.iter().copied().reduce(f64::min)?,
            most: ratios.iter().copied().reduce(f64::max)?,
            above: ratios.iter().filter(|&&ratio| ratio > 1.0).count(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(a: f64, b: f64) -> Vec<(String, f64)> {
        vec![("a".to_owned(), a), ("b".to_owned(), b)]
    }

    #[test]
    fn the_best_of_each_case_is_a_peer_of_its_own() {
        let mut standings = Standings::default();
        standings.add(case(2.0, 4.0));
        standings.add(case(8.0, 1.0));
        assert_eq!(standings.best, [2.0, 1.0]);
        let of_a = Summary::of(&standings.peers[0].1).expect("two cases");
        assert!((of_a.mean - 4.0).abs() < 1e-12);
        assert_eq!((of_a.least, of_a.most, of_a.above), (2.0, 8.0, 2));
        let of_b = Summary::of(&standings.peers[1].1).expect("two cases");
        // A ratio of 1 is no win.
        assert_eq!((of_b.least, of_b.above), (1.0, 1));
    }

    #[test]
    fn who_wins_depends_on_the_side_of_one() {
        assert_eq!(fastest(&case(1.5, 1.2)), Some(("b", 1.2)));
        assert_eq!(fastest(&[]), None);
        assert!(Standings::words("b", 1.2).starts_with("ours wins"));
        assert!(Standings::words("b", 0.9).starts_with("b wins"));
        assert_eq!(Summary::of(&[]), None);
    }
}
