//! Steps of training over threads, widths and batches.

use super::finished;
use crate::page::line::Line;
use crate::page::plot::axis::Scale;
use crate::page::plot::chart::{Chart, Series, Stroke};
use crate::report::OURS;

/// What each network gains from more threads.
pub(super) fn threads(lines: &[Line]) -> Chart {
    let named = |line: &&Line| line.is_ours("train") && !line.text("network").is_empty();
    let alone: Vec<_> = lines
        .iter()
        .filter(named)
        .filter(|line| line.count("threads") == 1)
        .collect();
    let mut series: Vec<Series> = Vec::new();
    let mut most = 1.0_f64;
    for (colour, base) in alone.into_iter().enumerate() {
        let name = base.text("network");
        let mut points: Vec<_> = lines
            .iter()
            .filter(named)
            .filter(|line| line.is("network", &name))
            .map(|line| {
                let gain = base.number("median_ns") / line.number("median_ns");
                (line.number("threads"), gain)
            })
            .collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        most = points.iter().map(|point| point.0).fold(most, f64::max);
        series.push(Series {
            name: format!("{name} {}", base.text("layers").replace(',', "-")),
            points,
            colour,
            stroke: Stroke::Marked,
        });
    }
    if most > 1.0 {
        series.push(Series {
            name: "as many as there are".to_owned(),
            points: vec![(1.0, 1.0), (most, most)],
            colour: 6,
            stroke: Stroke::Dashed,
        });
    } else {
        series.clear();
    }
    for series in &mut series {
        series.name = shortened(&series.name);
    }
    finished(
        "Threads and what they gain",
        ("threads", Scale::Log2),
        ("times as fast as one thread", Scale::Linear),
        series,
    )
}

/// A name that fits a legend on a narrow page.
fn shortened(name: &str) -> String {
    const MOST: usize = 30;
    if name.chars().count() <= MOST {
        return name.to_owned();
    }
    let start: String = name.chars().take(MOST - 1).collect();
    format!("{start}…")
}

/// The numbers of threads that ours trained with.
fn teams(lines: &[Line]) -> Vec<usize> {
    let ours = lines.iter().filter(|line| line.is_ours("train"));
    let mut teams: Vec<_> = ours.map(|line| line.count("threads")).collect();
    teams.sort_unstable();
    teams.dedup();
    teams
}

/// Steps of training, one series for each number of threads: `x` picks what is plotted over.
fn steps(
    lines: &[Line],
    x: impl Fn(&Line) -> Option<f64>,
    y: impl Fn(&Line) -> f64,
) -> Vec<Series> {
    let of = |(colour, threads): (usize, usize)| {
        let mut points: Vec<_> = lines
            .iter()
            .filter(|line| line.is_ours("train") && line.count("threads") == threads)
            .filter_map(|line| Some((x(line)?, y(line))))
            .collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        points.dedup_by(|a, b| a.0 == b.0);
        (points.len() > 1).then(|| Series {
            name: format!("{OURS}, {threads} {}", plural(threads, "thread")),
            points,
            colour,
            stroke: Stroke::Marked,
        })
    };
    teams(lines)
        .into_iter()
        .enumerate()
        .filter_map(of)
        .collect()
}

fn plural(count: usize, word: &str) -> String {
    if count == 1 {
        word.to_owned()
    } else {
        format!("{word}s")
    }
}

pub(super) fn fraction_over(
    title: &str,
    x_title: &str,
    lines: &[Line],
    x: impl Fn(&Line) -> Option<f64>,
) -> Chart {
    let series = steps(lines, x, |line| 100.0 * line.number("fraction_of_peak"));
    finished(
        title,
        (x_title, Scale::Log2),
        ("% of the peak", Scale::Linear),
        series,
    )
}

pub(super) fn time_over_width(lines: &[Line]) -> Chart {
    let x = |line: &Line| match line.layers()[..] {
        [10, first, second, 10] if first == second => Some(first as f64),
        _ => None,
    };
    finished(
        "Time over width",
        ("width W", Scale::Log2),
        ("us per step", Scale::Log),
        steps(lines, x, |line| line.number("median_ns") / 1e3),
    )
}

#[cfg(test)]
mod tests {
    use super::super::tests::lines;
    use super::*;

    #[test]
    fn more_threads_are_compared_with_one() {
        let chart = threads(&lines());
        assert_eq!(chart.series[0].points, [(1.0, 1.0), (2.0, 1.6)]);
        assert_eq!(chart.series[1].stroke, Stroke::Dashed);
    }
}
