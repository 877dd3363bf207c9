//! What kernels reach of what their arithmetic intensity allows.

use kernels::Isa;

use super::{Figure, Plot};
use crate::cost::{self, Cost};
use crate::page::line::Line;
use crate::page::plot::roofline::{Bound, Ceiling, Reached, Roofline};

/// The best instruction set with a measured peak.
fn best_isa(lines: &[Line]) -> String {
    let measured = |isa: &Isa| {
        lines
            .iter()
            .any(|line| line.is("kind", "multiply_add") && line.is("isa", isa.name()))
    };
    let best = Isa::ALL.into_iter().rev().find(measured);
    best.map_or(String::new(), |isa| isa.name().to_owned())
}

/// A roofline of the products and what is made of them, and one of everything else.
pub(super) fn rooflines(lines: &[Line]) -> [Option<Figure>; 2] {
    [
        roofline(
            "roofline",
            "Roofline of products, one thread",
            "Each point is a product, m x n x k (nt in a forward pass, nn for a data gradient, tn for a \
             weight gradient), or a step of training. Bytes are counted once for each operand, \
             so what stays in a cache may lie above the line of the memory below it. A multiply-add is two \
             operations. Small points are the other products, which the table of products names.",
            [peaks(lines), tile_peaks(lines), bandwidths(lines)].concat(),
            lines.iter().filter_map(product).collect(),
        ),
        roofline(
            "roofline-vector",
            "Roofline of vector operations, one thread",
            "Bytes are counted once for each operand. Operations are those of the formulas: a multiply-add \
             is two, an exponential as many as its polynomial takes, a comparison one. What is small lies \
             in the first-level cache, what is large in memory. Small points are the other sizes, which the \
             table of vector operations names.",
            [peaks(lines), bandwidths(lines)].concat(),
            lines.iter().filter_map(vector).collect(),
        ),
    ]
}

fn roofline(
    name: &'static str,
    title: &str,
    caption: &str,
    ceilings: Vec<Ceiling>,
    points: Vec<Point>,
) -> Option<Figure> {
    let (named, others): (Vec<_>, Vec<_>) = points.into_iter().partition(|point| point.has_label);
    let reached = |points: Vec<Point>| points.into_iter().map(|point| point.reached).collect();
    let (reached, others): (Vec<_>, Vec<_>) = (reached(named), reached(others));
    let has_peak = ceilings
        .iter()
        .any(|ceiling| matches!(ceiling.bound, Bound::Rate(_)));
    (has_peak && !reached.is_empty()).then(|| Figure {
        name,
        caption: caption.to_owned(),
        plot: Plot::Roofline(Roofline {
            title: title.to_owned(),
            ceilings,
            reached,
            others,
        }),
    })
}

/// A point of a roofline.
struct Point {
    reached: Reached,
    has_label: bool,
}

/// The lines of the machine's sheet that are of one thread and of this kind, as ceilings.
fn ceilings(
    lines: &[Line],
    kind: &str,
    ceiling: impl Fn(&Line) -> Option<Ceiling>,
) -> Vec<Ceiling> {
    let of_kind = |line: &&Line| line.is("kind", kind) && line.count("threads") == 1;
    lines.iter().filter(of_kind).filter_map(ceiling).collect()
}

fn peaks(lines: &[Line]) -> Vec<Ceiling> {
    let isa = best_isa(lines);
    ceilings(lines, "multiply_add", |line| {
        line.is("isa", &isa).then(|| Ceiling {
            name: format!("multiply-adds {isa}"),
            bound: Bound::Rate(line.number("peak_gflop_per_s")),
        })
    })
}

/// The matrix unit multiplies bf16 numbers: a product as exact as f32 takes several of its own.
fn tile_peaks(lines: &[Line]) -> Vec<Ceiling> {
    ceilings(lines, "tile_multiply", |line| {
        line.is("operands", "in tiles").then(|| Ceiling {
            name: "products of bf16 tiles".to_owned(),
            bound: Bound::Rate(line.number("peak_gflop_per_s")),
        })
    })
}

fn bandwidths(lines: &[Line]) -> Vec<Ceiling> {
    ceilings(lines, "bandwidth", |line| {
        line.is("access", "read").then(|| Ceiling {
            name: format!("{} read", line.text("level")),
            bound: Bound::Bandwidth(line.number("gb_per_s")),
        })
    })
}

/// The products that have labels in all three orientations, and the squares that have them in one: more
/// would lie upon each other.
const SHAPES: [(usize, usize, usize); 5] = [
    (32, 128, 784),
    (128, 10, 256),
    (128, 512, 784),
    (256, 1024, 1024),
    (4096, 64, 64),
];
const SQUARES: [usize; 2] = [64, 1024];

/// A point among the products, if the line is of one.
fn product(line: &Line) -> Option<Point> {
    if line.count("threads") > 1 {
        return None;
    }
    let size = |name| line.count(name);
    if line.is_ours("gemm") {
        let shape @ (m, n, k) = (size("m"), size("n"), size("k"));
        let is_square = line.is("op", "nn") && m == n && n == k && SQUARES.contains(&m);
        let name = format!("{} {m}x{n}x{k}", line.text("op"));
        let has_label = is_square || SHAPES.contains(&shape);
        reached(line, name, cost::product(m, n, k), has_label)
    } else if line.is_ours("train") && ["C", "E", "F"].contains(&line.text("network").as_str()) {
        let cost = cost::training_pass(&line.layers(), size("batch"));
        reached(
            line,
            format!("step of {}", line.text("network")),
            cost,
            true,
        )
    } else {
        None
    }
}

/// Elements of what is small, and of what is large.
const SMALL: usize = 1 << 12;
const LARGE: usize = 1 << 22;

/// A point among the vector operations, if the line is of one.
fn vector(line: &Line) -> Option<Point> {
    if !line.is_ours("vector") {
        return None;
    }
    let (rows, cols) = (line.count("rows"), line.count("cols"));
    let (op, elements) = (line.text("op"), rows * cols);
    let place = match () {
        () if op.starts_with("attention") => format!("{rows} rows"),
        () if op.contains("norm") => format!("{rows}x{cols}"),
        () if elements == SMALL => "small".to_owned(),
        () if elements == LARGE => "large".to_owned(),
        () => format!("{rows}x{cols}"),
    };
    // Of each operation two sizes have a label, or one.
    let has_label = if op.starts_with("attention") {
        rows != 256
    } else if op.contains("norm") {
        rows == 4096
    } else {
        [SMALL, LARGE].contains(&elements) || cols == 1000
    };
    let flop = match cost::vector_flop(&op) {
        Some(flop) => flop * elements as f64,
        None => line.number("flop"),
    };
    let cost = Cost {
        flop,
        bytes: line.number("bytes"),
    };
    let name = format!("{} {place}", op.replace('_', " "));
    reached(line, name, cost, has_label)
}

fn reached(line: &Line, name: String, cost: Cost, has_label: bool) -> Option<Point> {
    let reached = Reached {
        name,
        flop_per_byte: cost.flop / cost.bytes,
        gflop_per_s: cost.flop / line.number("median_ns"),
    };
    // Both axes are logarithmic: what takes no operations has no place on them.
    let has_place = |value: f64| value.is_finite() && value > 0.0;
    let is_on_it = has_place(reached.gflop_per_s) && has_place(reached.flop_per_byte);
    is_on_it.then_some(Point { reached, has_label })
}

#[cfg(test)]
mod tests {
    use super::super::tests::lines;
    use super::*;
    use crate::page::line::tests::line;

    #[test]
    fn the_roofline_has_the_best_peak_and_our_kernels() {
        let Some(Figure {
            plot: Plot::Roofline(roofline),
            ..
        }) = &rooflines(&lines())[0]
        else {
            panic!("no roofline");
        };
        assert_eq!(roofline.ceilings[0].bound, Bound::Rate(90.0));
        let [Some(_), None] = rooflines(&lines()) else {
            panic!("nothing of vectors was measured");
        };
        let names: Vec<_> = roofline.reached.iter().map(|r| r.name.as_str()).collect();
        assert_eq!(names, ["nn 64x64x64", "step of E"]);
        // 2 x 64^3 operations, 3 x 64^2 numbers of four bytes.
        assert!((roofline.reached[0].flop_per_byte - 64.0 / 6.0).abs() < 1e-9);
    }

    #[test]
    fn vector_operations_have_points_of_their_own_and_tiles_a_ceiling() {
        let mut lines = lines();
        lines.extend(
            [
                r#"{"suite":"vector","op":"sgd","rows":1,"cols":4096,"bytes":49152,"median_ns":1000}"#,
                r#"{"suite":"vector","op":"sgd","rows":1,"cols":65536,"bytes":786432,"median_ns":9000}"#,
                r#"{"suite":"vector","op":"layer_norm_backward","rows":4096,"cols":512,"bytes":100,"median_ns":1000}"#,
                r#"{"suite":"vector","op":"attention_backward","rows":64,"cols":128,"bytes":100,"flop":4000,"median_ns":1000}"#,
                r#"{"suite":"vector","op":"elu","rows":1,"cols":4096,"bytes":100,"median_ns":1000}"#,
                r#"{"suite":"peak","kind":"tile_multiply","operands":"in tiles","threads":1,"peak_gflop_per_s":900}"#,
            ]
            .map(line),
        );
        let [products, vectors] = rooflines(&lines).map(|figure| match figure.map(|f| f.plot) {
            Some(Plot::Roofline(roofline)) => roofline,
            other => panic!("no roofline: {other:?}"),
        });
        let names: Vec<_> = vectors.reached.iter().map(|r| r.name.as_str()).collect();
        let others: Vec<_> = vectors.others.iter().map(|r| r.name.as_str()).collect();
        assert_eq!(others, ["sgd 1x65536"]);
        // There is no count for ELU.
        let expected = [
            "sgd small",
            "layer norm backward 4096x512",
            "attention backward 64 rows",
        ];
        assert_eq!(names, expected);
        assert!((vectors.reached[0].flop_per_byte - 2.0 / 12.0).abs() < 1e-9);
        let tiles = |roofline: &Roofline| {
            let bounds = roofline.ceilings.iter().map(|ceiling| ceiling.bound);
            bounds.into_iter().any(|bound| bound == Bound::Rate(900.0))
        };
        assert!(tiles(&products) && !tiles(&vectors));
    }
}
