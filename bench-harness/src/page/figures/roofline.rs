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

pub(super) fn roofline(lines: &[Line]) -> Option<Figure> {
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
    } else if line.is("op", "attention") && line.number("flop").is_finite() {
        let cost = Cost {
            flop: line.number("flop"),
            bytes: line.number("bytes"),
        };
        (format!("attention, {} rows", size("rows")), cost)
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

#[cfg(test)]
mod tests {
    use super::super::tests::lines;
    use super::*;

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
}
