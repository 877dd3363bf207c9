//! Time over operations, with the laws fitted to it.

use super::finished;
use crate::page::line::Line;
use crate::page::plot::axis::Scale;
use crate::page::plot::chart::{Chart, Series, Stroke};

/// The passes of a step over all sweeps.
pub(super) fn complexity(lines: &[Line]) -> Chart {
    let all = lines.iter().filter(|line| {
        line.is("suite", "complexity") && line.is("against", "flop") && line.is("sweep", "all")
    });
    let mut series = Vec::new();
    for (colour, line) in all.enumerate() {
        let points: Vec<_> = line
            .objects("points")
            .iter()
            .map(|point| (point.number("size"), point.number("measured") / 1e3))
            .collect();
        let exponent = line.number("exponent");
        let fit = fitted(&points, exponent);
        series.push(Series {
            name: format!(
                "{} flop^{exponent:.3} ({:.3} to {:.3})",
                line.text("pass"),
                line.number("low"),
                line.number("high")
            ),
            points,
            colour,
            stroke: Stroke::Discs,
        });
        series.push(Series {
            name: String::new(),
            points: fit,
            colour,
            stroke: Stroke::Plain,
        });
    }
    finished(
        "Time against operations",
        ("operations (flop)", Scale::Log),
        ("us", Scale::Log),
        series,
    )
}

/// The ends of the line `y = c x^exponent` through the middle of the points.
fn fitted(points: &[(f64, f64)], exponent: f64) -> Vec<(f64, f64)> {
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).map(f64::ln).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let ends = [f64::min as fn(f64, f64) -> f64, f64::max]
        .map(|end| points.iter().map(|point| point.0).reduce(end));
    ends.into_iter()
        .flatten()
        .map(|end| (end, (y + exponent * (end.ln() - x)).exp()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fit_goes_through_points_that_follow_it() {
        let ends = fitted(&[(1.0, 3.0), (10.0, 30.0), (100.0, 300.0)], 1.0);
        for ((x, y), expected) in ends.into_iter().zip([(1.0, 3.0), (100.0, 300.0)]) {
            assert!((x - expected.0).abs() < 1e-9 && (y - expected.1).abs() < 1e-9);
        }
    }
}
