//! Which lines of a record become which plot.

use kernels::Isa;

use super::line::Line;
use super::plot::axis::{Axis, Scale};
use super::plot::chart::{Chart, Series, Stroke};
use super::plot::draw;
use super::plot::roofline::{Bound, Ceiling, Reached, Roofline};
use crate::cost::{self, Cost};
use crate::report::OURS;

/// Width and height where there is room, in pixels, and on a telephone.
const WIDE: (u32, u32) = (960, 560);
const NARROW: (u32, u32) = (380, 380);

/// A roofline with its key takes more.
const NARROW_ROOFLINE: (u32, u32) = (380, 640);

/// A plot with its name as a file and what is to be said of it.
#[derive(Clone, Debug)]
pub(crate) struct Figure {
    pub(crate) name: &'static str,
    pub(crate) caption: String,
    plot: Plot,
}

#[derive(Clone, Debug)]
enum Plot {
    Roofline(Roofline),
    Chart(Chart),
}

impl Figure {
    /// What a reader without eyes is told.
    pub(crate) fn title(&self) -> &str {
        match &self.plot {
            Plot::Roofline(roofline) => &roofline.title,
            Plot::Chart(chart) => &chart.title,
        }
    }

    /// The plot for a wide page and for a narrow one.
    pub(crate) fn draw(&self) -> anyhow::Result<[String; 2]> {
        let narrow = match &self.plot {
            Plot::Roofline(_) => NARROW_ROOFLINE,
            Plot::Chart(_) => NARROW,
        };
        let of = |size| {
            draw(size, |area| match &self.plot {
                Plot::Roofline(roofline) => roofline.draw(area),
                Plot::Chart(chart) => chart.draw(area),
            })
        };
        Ok([of(WIDE)?, of(narrow)?])
    }
}

/// All plots for which something was measured.
pub(crate) fn figures(lines: &[Line]) -> Vec<Figure> {
    let chart = |name, caption: &str, chart: Chart| {
        let has_points = chart.series.iter().any(|series| !series.points.is_empty());
        has_points.then(|| Figure {
            name,
            caption: caption.to_owned(),
            plot: Plot::Chart(chart),
        })
    };
    [
        roofline(lines),
        chart(
            "peers",
            "Products of square matrices, row-major, on one thread, timed in turn in one process.",
            peers(lines),
        ),
        chart(
            "threads",
            "Steps of training on one thread against the same on more; dashed is what as many \
             threads could gain at most.",
            threads(lines),
        ),
        chart(
            "width",
            "Steps of training of W-W-W-W, batch 128. The peak is that of as many threads, probed \
             beside each sample.",
            fraction_over(
                "Width and the fraction of the peak",
                "width W",
                lines,
                |line| {
                    let layers = line.layers();
                    let is_square = layers.len() == 4 && layers.iter().all(|&w| w == layers[0]);
                    (is_square && line.count("batch") == 128).then(|| layers[0] as f64)
                },
            ),
        ),
        chart(
            "batch",
            "Steps of training of 784-512-256-10.",
            fraction_over(
                "Batch and the fraction of the peak",
                "samples of a batch",
                lines,
                |line| {
                    let is_swept = line.is("layers", "784,512,256,10");
                    is_swept.then(|| line.count("batch") as f64)
                },
            ),
        ),
        chart(
            "time-over-width",
            "One step of training of 10-W-W-10, batch 128, plain gradient descent: a smooth line \
             has no cliff.",
            time_over_width(lines),
        ),
        chart(
            "complexity",
            "Time of each pass against the operations counted, over sweeps of width, depth and \
             batch; the lines are the fits of t = c flop^e, with the 95 % interval of e.",
            complexity(lines),
        ),
        chart(
            "latency",
            "One step in so many takes longer than this. What lies far right is the operating \
             system and the neighbours.",
            latency(lines),
        ),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The best instruction set with a measured peak.
pub(crate) fn best_isa(lines: &[Line]) -> String {
    let measured = |isa: &Isa| {
        lines
            .iter()
            .any(|line| line.is("kind", "multiply_add") && line.is("isa", isa.name()))
    };
    let best = Isa::ALL.into_iter().rev().find(measured);
    best.map_or(String::new(), |isa| isa.name().to_owned())
}

fn roofline(lines: &[Line]) -> Option<Figure> {
    let isa = best_isa(lines);
    let alone = |line: &&Line| line.count("threads") == 1;
    let peaks = lines.iter().filter(alone).filter_map(|line| {
        let is_peak = line.is("kind", "multiply_add") && line.is("isa", &isa);
        is_peak.then(|| Ceiling {
            name: format!("multiply-adds {isa}"),
            bound: Bound::Rate(line.number("peak_gflop_per_s")),
        })
    });
    let bandwidths = lines.iter().filter(alone).filter_map(|line| {
        let is_read = line.is("kind", "bandwidth") && line.is("access", "read");
        is_read.then(|| Ceiling {
            name: format!("{} read", line.text("level")),
            bound: Bound::Bandwidth(line.number("gb_per_s")),
        })
    });
    let ceilings: Vec<_> = peaks.chain(bandwidths).collect();
    let reached: Vec<_> = lines.iter().filter_map(reached).collect();
    let has_peak = ceilings
        .iter()
        .any(|ceiling| matches!(ceiling.bound, Bound::Rate(_)));
    (has_peak && !reached.is_empty()).then(|| Figure {
        name: "roofline",
        caption: "Each point is a kernel or a pass on one thread. Bytes are counted once for each \
                  operand, so what stays in a cache may lie above the line of the memory below it. \
                  Operations are those of the formulas: a multiply-add is two, an exponential as \
                  many as its polynomial takes."
            .to_owned(),
        plot: Plot::Roofline(Roofline {
            title: "Roofline, one thread".to_owned(),
            ceilings,
            reached,
        }),
    })
}

/// A point of the roofline, if the line is of one.
fn reached(line: &Line) -> Option<Reached> {
    if line.count("threads") > 1 {
        return None;
    }
    let size = |name| line.count(name);
    let (name, cost) = if line.is_ours("gemm") {
        let (m, n, k) = (size("m"), size("n"), size("k"));
        let is_shown =
            line.is("op", "nt") && m != 256 || line.is("op", "nn") && [64, 1024].contains(&m);
        let cost = is_shown.then(|| cost::product(m, n, k))?;
        (format!("{} {m}x{n}x{k}", line.text("op")), cost)
    } else if line.is_ours("vector") {
        let elements = size("rows") * size("cols");
        let is_shown = !line.text("op").ends_with("_backward")
            && (elements == 1 << 12 || elements == 1 << 22 || size("cols") == 1000);
        let flop = cost::vector_flop(&line.text("op")).filter(|_| is_shown)?;
        let cost = Cost {
            flop: flop * elements as f64,
            bytes: line.number("bytes"),
        };
        let place = if elements == 1 << 22 {
            "large"
        } else {
            "small"
        };
        (
            format!("{} {place}", line.text("op").replace('_', " ")),
            cost,
        )
    } else if line.is_ours("train") && ["C", "E", "F"].contains(&line.text("network").as_str()) {
        let cost = cost::training_pass(&line.layers(), size("batch"));
        (format!("step of {}", line.text("network")), cost)
    } else {
        return None;
    };
    Some(Reached {
        name,
        flop_per_byte: cost.flop / cost.bytes,
        gflop_per_s: cost.flop / line.number("median_ns"),
    })
    .filter(|reached| reached.gflop_per_s.is_finite())
}

/// Ours and the other libraries, over squares.
fn peers(lines: &[Line]) -> Chart {
    let squares: Vec<_> = lines
        .iter()
        .filter(|line| {
            let (m, n, k) = (line.count("m"), line.count("n"), line.count("k"));
            line.is("suite", "gemm") && line.is("op", "nn") && m == n && n == k
        })
        .collect();
    let mut names: Vec<String> = Vec::new();
    for line in &squares {
        if !names.contains(&line.text("impl")) {
            names.push(line.text("impl"));
        }
    }
    let series = names.into_iter().enumerate().map(|(colour, name)| {
        let of = squares.iter().filter(|line| line.is("impl", &name));
        Series {
            points: of
                .map(|line| (line.number("m"), line.number("gflop_per_s")))
                .collect(),
            name,
            colour,
            stroke: Stroke::Marked,
        }
    });
    finished(
        "Square products",
        ("m = n = k", Scale::Log2),
        ("GFLOP/s", Scale::Linear),
        series.collect(),
    )
}

/// A chart whose axes show all points.
fn finished(
    title: &str,
    (x_title, x_scale): (&str, Scale),
    (y_title, y_scale): (&str, Scale),
    series: Vec<Series>,
) -> Chart {
    let points = || series.iter().flat_map(|series| &series.points);
    Chart {
        title: title.to_owned(),
        x: Axis::over(x_title, x_scale, points().map(|point| point.0)),
        y: Axis::over(y_title, y_scale, points().map(|point| point.1)),
        series: series.clone(),
    }
}

fn threads(lines: &[Line]) -> Chart {
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

fn fraction_over(
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

fn time_over_width(lines: &[Line]) -> Chart {
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

fn complexity(lines: &[Line]) -> Chart {
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

fn latency(lines: &[Line]) -> Chart {
    let measured = lines.iter().filter(|line| line.is("suite", "latency"));
    let series = measured.enumerate().map(|(colour, line)| Series {
        name: format!(
            "{} x{}, {} steps",
            line.text("layers").replace(',', "-"),
            line.text("batch"),
            line.text("steps")
        ),
        points: line
            .objects("quantiles")
            .iter()
            .map(|quantile| (quantile.number("one_in"), quantile.number("ns") / 1e3))
            .collect(),
        colour,
        stroke: Stroke::Marked,
    });
    finished(
        "How long a step takes at worst",
        ("one step in", Scale::Log),
        ("us", Scale::Log),
        series.collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::line::tests::line;

    fn lines() -> Vec<Line> {
        [
            r#"{"suite":"peak","kind":"multiply_add","isa":"scalar","threads":1,"peak_gflop_per_s":9}"#,
            r#"{"suite":"peak","kind":"multiply_add","isa":"avx2","threads":1,"peak_gflop_per_s":90}"#,
            r#"{"suite":"peak","kind":"bandwidth","access":"read","level":"l2","threads":1,"gb_per_s":60}"#,
            r#"{"suite":"gemm","impl":"ours","op":"nn","m":64,"n":64,"k":64,"threads":1,"median_ns":8000,"gflop_per_s":65}"#,
            r#"{"suite":"gemm","impl":"other 1.0","op":"nn","m":64,"n":64,"k":64,"threads":1,"median_ns":9000,"gflop_per_s":55}"#,
            r#"{"suite":"train","impl":"ours","network":"E","layers":"784,512,256,10","batch":128,"threads":1,"median_ns":4000,"fraction_of_peak":0.7}"#,
            r#"{"suite":"train","impl":"ours","network":"E","layers":"784,512,256,10","batch":128,"threads":2,"median_ns":2500,"fraction_of_peak":0.6}"#,
            r#"{"suite":"train","impl":"ours","layers":"10,8,8,10","batch":128,"threads":1,"median_ns":400,"fraction_of_peak":0.2}"#,
            r#"{"suite":"train","impl":"ours","layers":"10,16,16,10","batch":128,"threads":1,"median_ns":800,"fraction_of_peak":0.3}"#,
            r#"{"suite":"complexity","pass":"forward","against":"flop","sweep":"all","exponent":1.0,"low":0.9,"high":1.1,"points":[{"size":100,"measured":10},{"size":1000,"measured":100}]}"#,
        ]
        .map(line)
        .into()
    }

    #[test]
    fn what_was_measured_is_plotted_and_nothing_else() {
        let figures = figures(&lines());
        let names: Vec<_> = figures.iter().map(|figure| figure.name).collect();
        assert_eq!(
            names,
            [
                "roofline",
                "peers",
                "threads",
                "time-over-width",
                "complexity"
            ]
        );
        for figure in &figures {
            for svg in figure.draw().expect("a plot") {
                assert!(svg.contains(figure.title()), "{}", figure.name);
            }
        }
        assert!(super::figures(&[]).is_empty());
    }

    #[test]
    fn the_roofline_has_the_best_peak_and_our_kernels() {
        let Some(Figure {
            plot: Plot::Roofline(roofline),
            ..
        }) = roofline(&lines())
        else {
            panic!("no roofline");
        };
        assert_eq!(roofline.ceilings[0].bound, Bound::Rate(90.0));
        let names: Vec<_> = roofline.reached.iter().map(|r| r.name.as_str()).collect();
        assert_eq!(names, ["nn 64x64x64", "step of E"]);
        // 2 x 64^3 operations, 3 x 64^2 numbers of four bytes.
        assert!((roofline.reached[0].flop_per_byte - 64.0 / 6.0).abs() < 1e-9);
    }

    #[test]
    fn a_fit_goes_through_points_that_follow_it() {
        let ends = fitted(&[(1.0, 3.0), (10.0, 30.0), (100.0, 300.0)], 1.0);
        for ((x, y), expected) in ends.into_iter().zip([(1.0, 3.0), (100.0, 300.0)]) {
            assert!((x - expected.0).abs() < 1e-9 && (y - expected.1).abs() < 1e-9);
        }
    }

    #[test]
    fn more_threads_are_compared_with_one() {
        let chart = threads(&lines());
        assert_eq!(chart.series[0].points, [(1.0, 1.0), (2.0, 1.6)]);
        assert_eq!(chart.series[1].stroke, Stroke::Dashed);
    }
}
