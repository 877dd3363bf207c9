//! Which lines of a record become which table.

use super::cells::{
    ALLOCATIONS, BANDWIDTH, BATCH, BYTES, CLOCK, Cell, Column, DEVIATION, FIRST, FRACTION, IMPL,
    ISA, K, LEAST, M, N, NETWORK, OP, RATE, RATIO, SAMPLES, SECOND, SHARE, SPREAD_HIGH, SPREAD_LOW,
    SPREAD_MAD, THREADS, TIME, VERDICT,
};
use super::line::Line;

/// A table: one row for each line, one cell for each column.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    pub(crate) title: &'static str,
    pub(crate) note: &'static str,
    pub(crate) head: Vec<&'static str>,
    pub(crate) rows: Vec<Vec<Cell>>,
}

/// All tables for which something was measured.
pub(crate) fn tables(lines: &[Line]) -> Vec<Table> {
    let of = |title, note, is_row: fn(&Line) -> bool, columns: &[Column]| {
        let rows: Vec<_> = lines.iter().filter(|line| is_row(line)).collect();
        table(title, note, &rows, columns)
    };
    let points: Vec<_> = lines.iter().flat_map(points).collect();
    let quantiles: Vec<_> = lines
        .iter()
        .flat_map(|line| line.objects("quantiles"))
        .collect();
    let all = [
        of(
            "Machine: multiply-adds in registers",
            "The peak that fractions are of.",
            |line| line.is("kind", "multiply_add"),
            &[
                ISA,
                THREADS,
                ("GFLOP/s", |line| {
                    Cell::fixed(line.number("peak_gflop_per_s"), 1)
                }),
                SPREAD_LOW,
                SPREAD_HIGH,
                SPREAD_MAD,
                CLOCK,
                ("flop/cycle", |line| {
                    Cell::fixed(line.number("flop_per_cycle"), 1)
                }),
                SHARE,
            ],
        ),
        of(
            "Machine: products of tiles",
            "The peak of the matrix unit on bf16 numbers, operands in tiles already or loaded each time.",
            |line| line.is("kind", "tile_multiply"),
            &[
                ("operands", |line| Cell::text(line.text("operands"))),
                THREADS,
                ("GFLOP/s", |line| {
                    Cell::fixed(line.number("peak_gflop_per_s"), 1)
                }),
                SPREAD_LOW,
                SPREAD_HIGH,
                SPREAD_MAD,
                CLOCK,
            ],
        ),
        of(
            "Machine: bandwidths",
            "Each thread streams through memory of its own; a copy moves its bytes twice.",
            |line| line.is("kind", "bandwidth"),
            &[
                ("level", |line| Cell::text(line.text("level"))),
                ("access", |line| Cell::text(line.text("access"))),
                THREADS,
                BYTES,
                BANDWIDTH,
                SPREAD_LOW,
                SPREAD_HIGH,
                SPREAD_MAD,
                CLOCK,
            ],
        ),
        of(
            "Machine: hand-over between two threads",
            "From before a phase until both have met in it.",
            |line| line.is("kind", "hand_over"),
            &[
                ("helper", |line| Cell::text(line.text("helper"))),
                ("ns", |line| Cell::fixed(line.number("hand_over_ns"), 0)),
                SPREAD_LOW,
                SPREAD_HIGH,
                SPREAD_MAD,
            ],
        ),
        of(
            "Products",
            "C = A B of m x n x k; nt is a forward pass, nn a data gradient, tn a weight gradient.",
            |line| line.is("suite", "gemm"),
            &[
                OP,
                M,
                N,
                K,
                IMPL,
                THREADS,
                TIME,
                LEAST,
                DEVIATION,
                RATE,
                FRACTION,
                ("time / ours", |line| {
                    let names = [
                        "time_over_ours",
                        "time_over_ours_low",
                        "time_over_ours_high",
                    ];
                    Cell::interval(line, names[0], names[1], names[2])
                }),
                CLOCK,
            ],
        ),
        of(
            "Steps of training",
            "Forward pass, backward pass and update of one batch.",
            |line| line.is_ours("train"),
            &[
                NETWORK,
                BATCH,
                ("optimiser", |line| Cell::text(line.text("optimizer"))),
                THREADS,
                TIME,
                LEAST,
                DEVIATION,
                SAMPLES,
                RATE,
                FRACTION,
                SHARE,
                ALLOCATIONS,
            ],
        ),
        of(
            "Forward passes",
            "",
            |line| line.is_ours("infer"),
            &[
                NETWORK,
                BATCH,
                THREADS,
                TIME,
                LEAST,
                DEVIATION,
                SAMPLES,
                RATE,
                FRACTION,
                ALLOCATIONS,
            ],
        ),
        of(
            "Vector operations",
            "On one thread. Errors are the largest against f64 among the elements timed, in units in the \
             last place: of the result, and of the larger of result and operands, since of a difference \
             little may be left.",
            |line| line.is("suite", "vector"),
            &[
                ("operation", |line| {
                    Cell::text(line.text("op").replace('_', " "))
                }),
                ("rows", |line| Cell::fixed(line.number("rows"), 0)),
                ("columns", |line| Cell::fixed(line.number("cols"), 0)),
                TIME,
                DEVIATION,
                ("elements/ns", |line| {
                    Cell::fixed(line.number("elements_per_ns"), 2)
                }),
                BANDWIDTH,
                RATE,
                ("error, ulp", |line| Cell::fixed(line.number("max_ulp"), 1)),
                ("of operands", |line| {
                    Cell::fixed(line.number("max_ulp_of_operands"), 1)
                }),
            ],
        ),
        of(
            "Fused epilogues",
            "First: bias and activation in the product. Second: three passes.",
            |line| line.is("suite", "fused"),
            &[
                ("batch", |line| Cell::fixed(line.number("batch"), 0)),
                ("outputs", |line| Cell::fixed(line.number("outputs"), 0)),
                ("inputs", |line| Cell::fixed(line.number("inputs"), 0)),
                ("activation", |line| Cell::text(line.text("activation"))),
                FIRST,
                SECOND,
                RATIO,
                VERDICT,
            ],
        ),
        of(
            "Threads are never slower",
            "Steps of training. First: one thread. Second: as many as are named.",
            |line| line.is("suite", "threads") && line.0.contains_key("layers"),
            &[NETWORK, BATCH, THREADS, FIRST, SECOND, RATIO, VERDICT],
        ),
        of(
            "Threads and products",
            "First: one thread. Second: as many as are named.",
            |line| line.is("suite", "threads") && line.0.contains_key("m"),
            &[OP, M, N, K, THREADS, FIRST, SECOND, RATIO, VERDICT],
        ),
        of(
            "Several trainings at once",
            "As many networks as threads, trained side by side, beside one of them alone on one thread; \
             efficiency is time alone over time of all.",
            |line| line.is("suite", "ensemble"),
            &[
                NETWORK,
                BATCH,
                THREADS,
                ("members", |line| Cell::fixed(line.number("members"), 0)),
                ("alone", |line| Cell::time(line.number("alone_ns"))),
                ("all", |line| Cell::time(line.number("ensemble_ns"))),
                ("efficiency", |line| {
                    Cell::interval(line, "efficiency", "efficiency_low", "efficiency_high")
                }),
                ("of minima", |line| {
                    Cell::fixed(line.number("efficiency_of_minima"), 3)
                }),
                SHARE,
            ],
        ),
        of(
            "Where the time of a step goes",
            "Median over explanations of the shortest time in each. Predicted is the least that the \
             measured peaks permit.",
            |line| line.is("suite", "explain"),
            &[
                NETWORK,
                BATCH,
                THREADS,
                ("pass", |line| Cell::text(line.text("pass"))),
                ("call", |line| Cell::text(line.text("name"))),
                ("shape", |line| Cell::text(line.text("shape"))),
                ("kernel", |line| Cell::text(line.text("kernel"))),
                ("T", |line| Cell::fixed(line.number("members"), 0)),
                TIME,
                ("least", |line| Cell::time(line.number("min"))),
                ("MAD", |line| Cell::time(line.number("mad"))),
                ("predicted", |line| Cell::time(line.number("predicted_ns"))),
                ("bound by", |line| Cell::text(line.text("bound"))),
            ],
        ),
        of(
            "Cost of epilogues",
            "First: the product alone. Second: with what the epilogue does to each element.",
            |line| line.is("suite", "epilogue"),
            &[
                OP,
                M,
                N,
                K,
                ("epilogue", |line| {
                    Cell::text(line.text("epilogue").replace('_', " "))
                }),
                FIRST,
                SECOND,
                RATIO,
                VERDICT,
            ],
        ),
        of(
            "The data of an epoch",
            "What shuffling the samples and gathering their rows take of an epoch of training.",
            |line| line.is("suite", "epoch"),
            &[
                NETWORK,
                BATCH,
                ("samples", |line| Cell::fixed(line.number("samples"), 0)),
                THREADS,
                ("shuffle, a batch", |line| {
                    Cell::time(line.number("shuffle_ns"))
                }),
                ("gather, a batch", |line| {
                    Cell::time(line.number("gather_ns"))
                }),
                ("step", |line| Cell::time(line.number("step_ns"))),
                ("of the epoch", |line| {
                    Cell::percent(line.number("data_share"))
                }),
            ],
        ),
        of(
            "Growth of cost",
            "Exponents of time against operations, and of memory against the sum of widths. A law agrees \
             if the whole interval is within 0.05 of the documented exponent; beyond a fixed cost, if what \
             is left without a cost that each call has whatever its size does. Over sizes on both sides of \
             a full cache a pass that only moves memory has more: its laws within each level do not.",
            |line| line.is("suite", "complexity"),
            &[
                ("pass", |line| Cell::text(line.text("pass"))),
                ("over", |line| Cell::text(line.text("sweep"))),
                ("against", |line| Cell::text(line.text("against"))),
                ("exponent (95 % interval)", |line| {
                    Cell::interval(line, "exponent", "low", "high")
                }),
                ("documented", |line| {
                    Cell::fixed(line.number("documented"), 0)
                }),
                ("verdict", |line| {
                    Cell::text(line.text("verdict").replace('_', " "))
                }),
                ("fixed cost", |line| Cell::time(line.number("fixed"))),
                ("exponent beyond it", |line| {
                    Cell::interval(line, "exponent_beyond", "low_beyond", "high_beyond")
                }),
                ("bends", |line| Cell::text(bends(line))),
            ],
        ),
        table(
            "Cost of each operation",
            "Flat where time grows as the operations do. The level is the smallest cache that the \
             operands fit in: where it changes, the line bends.",
            &points.iter().collect::<Vec<_>>(),
            &[
                ("pass", |line| Cell::text(line.text("pass"))),
                NETWORK,
                BATCH,
                ("flop", |line| Cell::fixed(line.number("size"), 0)),
                BYTES,
                ("time", |line| Cell::time(line.number("measured"))),
                ("ps/flop", |line| {
                    Cell::fixed(1e3 * line.number("measured_per_size"), 2)
                }),
                ("operands fit in", |line| Cell::text(line.text("fits_in"))),
            ],
        ),
        table(
            "How long a step takes at worst",
            "",
            &quantiles.iter().collect::<Vec<_>>(),
            &[
                ("one step in", |line| Cell::fixed(line.number("one_in"), 0)),
                ("takes longer than", |line| Cell::time(line.number("ns"))),
            ],
        ),
    ];
    all.into_iter()
        .filter(|table| !table.rows.is_empty())
        .collect()
}

fn table(title: &'static str, note: &'static str, lines: &[&Line], columns: &[Column]) -> Table {
    Table {
        title,
        note,
        head: columns.iter().map(|column| column.0).collect(),
        rows: lines
            .iter()
            .map(|line| columns.iter().map(|column| column.1(line)).collect())
            .collect(),
    }
}

/// Where a full cache bends a law, and by how much an operation gets dearer there.
fn bends(line: &Line) -> String {
    let bends = line.objects("bends");
    let words = bends.iter().map(|bend| {
        let (from, to) = (bend.text("from"), bend.text("to"));
        format!("{from} to {to} x{:.2}", bend.number("cost_ratio"))
    });
    words.collect::<Vec<_>>().join(", ")
}

/// The points of one sweep of times, each with the name of its pass and the network's own fields.
fn points(line: &Line) -> Vec<Line> {
    if !line.is("against", "flop") || line.is("sweep", "all") {
        return Vec::new();
    }
    let with_pass = |mut point: Line| {
        if let Some(serde_json::Value::Object(network)) = point.0.remove("network") {
            point.0.extend(network);
        }
        point.0.insert("pass".to_owned(), line.text("pass").into());
        point
    };
    line.objects("points").into_iter().map(with_pass).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::line::tests::line;

    #[test]
    fn a_line_becomes_a_row() {
        let lines = [
            r#"{"suite":"infer","impl":"ours","layers":"7,5","batch":8,"threads":2,"median_ns":2000,"min_ns":1900,"mad_ns":100,"samples_per_s":4e6,"gflop_per_s":1.5,"fraction_of_peak":0.25,"allocations_per_step":0}"#,
            r#"{"suite":"machine","cpu":"Fast"}"#,
        ]
        .map(line);
        let tables = tables(&lines);
        assert_eq!(tables.len(), 1);
        let texts: Vec<_> = tables[0].rows[0].iter().map(|c| c.text.as_str()).collect();
        let expected = [
            "7-5", "8", "2", "2.00 us", "1.90 us", "5.0 %", "4000000", "1.5", "25.0 %", "0",
        ];
        assert_eq!(texts, expected);
        assert_eq!(tables[0].head.len(), expected.len());
        assert_eq!(tables[0].rows[0][3].value, Some(2000.0));
    }

    #[test]
    fn points_of_a_sweep_are_rows_and_those_of_all_sweeps_are_not_repeated() {
        let sweep = |name: &str| {
            line(&format!(
                r#"{{"suite":"complexity","pass":"forward","against":"flop","sweep":"{name}","points":[{{"network":{{"layers":"8,8","batch":4}},"size":512,"measured":100,"measured_per_size":0.2}}]}}"#
            ))
        };
        let tables = tables(&[sweep("all"), sweep("width")]);
        let costs = tables.iter().find(|table| table.title.starts_with("Cost"));
        let rows = &costs.expect("a table of points").rows;
        assert_eq!(rows.len(), 1);
        assert_eq!(
            (rows[0][0].text.as_str(), rows[0][1].text.as_str()),
            ("forward", "8-8")
        );
    }
}
