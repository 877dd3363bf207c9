//! Which lines of a record become which plot.

mod growth;
mod roofline;
mod steps;

use super::line::Line;
use super::plot::axis::{Axis, Scale};
use super::plot::chart::{Chart, Series, Stroke};
use super::plot::draw;
use super::plot::roofline::Roofline;
use growth::complexity;
use roofline::rooflines;
use steps::{fraction_over, threads, time_over_width};

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

/// The names of all plots that there can be.
pub(super) const NAMES: [&str; 9] = [
    "roofline",
    "roofline-vector",
    "peers",
    "threads",
    "width",
    "batch",
    "time-over-width",
    "complexity",
    "latency",
];

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
    let [of_products, of_vectors] = rooflines(lines);
    [
        of_products,
        of_vectors,
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
             batch; the lines are the fits of t = c flop^e, with the 95 % interval of e. An update \
             does little with each number it reads, so it bends where a cache is full; the table has \
             its exponents within each level.",
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
pub(super) mod tests {
    use super::*;
    use crate::page::line::tests::line;

    pub(in crate::page::figures) fn lines() -> Vec<Line> {
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
        assert!(names.iter().all(|name| NAMES.contains(name)), "{names:?}");
        assert!(super::figures(&[]).is_empty());
    }
}
