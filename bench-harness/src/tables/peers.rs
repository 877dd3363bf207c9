//! A record of other libraries beside ours, as `peers/beside.py` times them, and its table.

use std::path::Path;

use anyhow::Context;
use serde::Deserialize;
use serde_json::Value;

use crate::records::{Machine, lines_of};
use crate::report::{OURS, duration};

/// The suite of its lines.
const SUITE: &str = "peers";

/// One library on one case.
#[derive(Clone, Debug, Deserialize)]
struct Timed {
    /// The suite of bench-harness that the case is one of.
    of: String,
    network: Option<String>,
    layers: Option<String>,
    batch: Option<usize>,
    optimizer: Option<String>,
    m: Option<usize>,
    n: Option<usize>,
    k: Option<usize>,
    op: Option<String>,
    #[serde(default = "one")]
    threads: usize,
    r#impl: String,
    /// `None` where it was left out.
    #[serde(flatten)]
    figures: Option<Figures>,
    /// Why it was left out.
    left_out: Option<String>,
}

/// The threads of a line that does not say: what the workers take them to be.
fn one() -> usize {
    1
}

/// What it took.
#[derive(Clone, Copy, Debug, Deserialize)]
struct Figures {
    median_ns: f64,
    /// Median of the paired ratios theirs / ours, and the ends of its 95 % interval.
    over_ours: f64,
    over_ours_low: f64,
    over_ours_high: f64,
}

/// Such a record.
#[derive(Clone, Debug)]
pub(super) struct Saved {
    machine: Machine,
    timed: Vec<Timed>,
}

impl Saved {
    /// Reads the record of this name, or in this file; `None` if it is one of other things.
    pub(super) fn read(name: &Path, directory: &Path) -> anyhow::Result<Option<Self>> {
        let (machine, lines) = lines_of(name, directory)?;
        let suite = |line: &serde_json::Map<String, Value>| line.get("suite").cloned();
        if lines.first().and_then(suite) != Some(SUITE.into()) {
            return Ok(None);
        }
        let timed = lines.into_iter().enumerate().map(|(index, line)| {
            serde_json::from_value(Value::Object(line))
                .with_context(|| format!("{}: line {}", name.display(), index + 2))
        });
        let timed = timed.collect::<anyhow::Result<_>>()?;
        Ok(Some(Self { machine, timed }))
    }
}

impl Timed {
    /// What was timed, in the words of the other tables.
    fn case(&self) -> String {
        let mut words = vec![self.of.clone()];
        words.extend(self.network.clone());
        words.extend(self.layers.clone());
        words.extend(self.batch.map(|batch| format!("x{batch}")));
        words.extend(self.optimizer.clone());
        words.extend(self.op.clone());
        if let (Some(m), Some(n), Some(k)) = (self.m, self.n, self.k) {
            words.push(format!("{m}x{n}x{k}"));
        }
        format!("{}, {} T", words.join(" "), self.threads)
    }
}

/// The values of a field, each once, in the order in which they come.
fn each_once(timed: &[Timed], field: impl Fn(&Timed) -> String) -> Vec<String> {
    let mut found = Vec::new();
    for value in timed.iter().map(field) {
        if !found.contains(&value) {
            found.push(value);
        }
    }
    found
}

/// A row for each case, a column for each library: how many times as long as ours it takes.
pub(super) fn table(name: &str, record: &Saved) -> String {
    let Saved { machine, timed } = record;
    let mut libraries = each_once(timed, |timed| timed.r#impl.clone());
    libraries.retain(|library| library != OURS);
    let cases = each_once(timed, Timed::case);
    let of = |case: &str, library: &str| {
        let is_it = |timed: &&Timed| timed.case() == case && timed.r#impl == library;
        timed.iter().find(is_it)
    };
    let part = machine.part.as_ref();
    let part = part.map_or(String::new(), |why| format!(" This is a part: {why}."));
    let mut text = format!(
        "Record `{name}`: {}, {}, revision {}. Ours: time of a step. Others: how many times as long, \
         the median of paired ratios with its 95 % interval.{part}\n\n",
        machine.name(),
        machine.rustc,
        machine.revision
    );
    text += &format!("| case | ours | {} |\n", libraries.join(" | "));
    text += &format!("|---|---:|{}\n", "---:|".repeat(libraries.len()));
    for case in &cases {
        let own = of(case, OURS).and_then(|timed| timed.figures);
        let own = own.map_or(f64::NAN, |figures| figures.median_ns);
        text += &format!("| {case} | {} |", duration(own));
        for library in &libraries {
            let timed = of(case, library);
            text += &match timed.and_then(|timed| timed.figures) {
                Some(figures) => format!(
                    " {} ({} to {}) |",
                    ratio(figures.over_ours),
                    ratio(figures.over_ours_low),
                    ratio(figures.over_ours_high)
                ),
                None => match timed.and_then(|timed| timed.left_out.as_ref()) {
                    Some(why) => format!(" {} |", why.replace('|', "/")),
                    None => " |".to_owned(),
                },
            };
        }
        text.push('\n');
    }
    text += "| geometric mean | |";
    for library in &libraries {
        let timed = cases.iter().filter_map(|case| of(case, library)?.figures);
        let logs: Vec<_> = timed.map(|figures| figures.over_ours.ln()).collect();
        let mean = (logs.iter().sum::<f64>() / logs.len() as f64).exp();
        text += &format!(" {} |", ratio(mean));
    }
    text.push('\n');
    text
}

/// Three digits or all that are before the point.
fn ratio(value: f64) -> String {
    let digits = match value {
        value if value < 9.995 => 2,
        value if value < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.digits$}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::tests::MACHINE;

    #[test]
    fn products_and_lines_without_threads_are_cases_too() {
        let case = |line: &str| {
            let timed: Timed = serde_json::from_str(line).expect("a line");
            timed.case()
        };
        let product = r#"{"of":"gemm","m":2,"n":3,"k":4,"op":"nt","impl":"ours"}"#;
        assert_eq!(case(product), "gemm nt 2x3x4, 1 T");
        let network = r#"{"of":"infer","layers":"7,5","threads":2,"impl":"ours"}"#;
        assert_eq!(case(network), "infer 7,5, 2 T");
    }

    #[test]
    fn a_part_says_so() {
        let mut machine: Machine = serde_json::from_str(MACHINE).expect("a machine");
        machine.part = Some("stopped after 8 minutes".to_owned());
        let record = Saved {
            machine,
            timed: Vec::new(),
        };
        let text = table("zen", &record);
        assert!(
            text.contains("This is a part: stopped after 8 minutes."),
            "{text}"
        );
    }

    #[test]
    fn a_table_by_hand() {
        let line = |r#impl: &str, threads: u32, ns: u32, over: f64| {
            format!(
                r#"{{"schema_version":1,"suite":"peers","of":"train","network":"A","layers":"7,5","batch":8,"optimizer":"sgd","threads":{threads},"impl":"{impl}","median_ns":{ns},"over_ours":{over},"over_ours_low":{over},"over_ours_high":{over}}}"#
            )
        };
        let directory = std::env::temp_dir().join(format!("peers-{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a directory");
        let path = directory.join("r.jsonl");
        let lines = [
            MACHINE.to_owned(),
            line(OURS, 1, 2000, 1.0),
            line("slow 1.0", 1, 4000, 2.0),
            line("slower 2", 1, 64_000, 32.0),
            line(OURS, 2, 1000, 1.0),
            r#"{"schema_version":1,"suite":"peers","of":"train","network":"A","layers":"7,5","batch":8,"optimizer":"sgd","threads":2,"impl":"slower 2","left_out":"no answer in 60 s"}"#.to_owned(),
            line("slow 1.0", 2, 8000, 8.0),
        ];
        std::fs::write(&path, lines.join("\n")).expect("a file");
        let record = Saved::read(&path, &directory)
            .expect("a record")
            .expect("of peers");
        std::fs::remove_dir_all(directory).expect("its own directory");
        let expected = "\
Record `zen`: Fast, 2 cores, c, revision r. Ours: time of a step. Others: how many times as long, \
the median of paired ratios with its 95 % interval.

| case | ours | slow 1.0 | slower 2 |
|---|---:|---:|---:|
| train A 7,5 x8 sgd, 1 T | 2.00 us | 2.00 (2.00 to 2.00) | 32.0 (32.0 to 32.0) |
| train A 7,5 x8 sgd, 2 T | 1.00 us | 8.00 (8.00 to 8.00) | no answer in 60 s |
| geometric mean | | 4.00 | 32.0 |
";
        assert_eq!(table("zen", &record), expected);
    }
}
