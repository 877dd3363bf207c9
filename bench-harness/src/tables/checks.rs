//! Records of what holds on a machine rather than of how fast it is: what `compare` finds, as
//! `check-compare` makes it, and what the hot loops are made of, as `check-spills` reads it.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::records::Machine;
use crate::stats::median;

/// The suites whose lines they are made of.
const COMPARE: &str = "compare";
const LOOPS: &str = "loops";

/// The table of such a record; `None` if it is one of other things.
pub(super) fn table(name: &str, machine: &Machine, lines: &[Map<String, Value>]) -> Option<String> {
    let suite = lines.first()?.get("suite")?.as_str()?;
    let rows = match suite {
        COMPARE => comparisons(lines),
        LOOPS => loops(lines),
        _ => return None,
    };
    Some(format!(
        "Record `{name}`: {}, {}, revision {}.\n\n{rows}",
        machine.name(),
        machine.rustc,
        machine.revision
    ))
}

fn word(line: &Map<String, Value>, field: &str) -> String {
    match line.get(field) {
        Some(Value::String(word)) => word.clone(),
        Some(Value::Null) | None => String::new(),
        Some(value) => value.to_string(),
    }
}

/// How often each verdict came, of each case with each slowdown.
fn comparisons(lines: &[Map<String, Value>]) -> String {
    let mut found: BTreeMap<(String, String), [usize; 3]> = BTreeMap::new();
    for line in lines {
        let key = (word(line, "case"), word(line, "slow_down_every"));
        let counts = found.entry(key).or_default();
        match word(line, "verdict").as_str() {
            "slower" => counts[0] += 1,
            "same" => counts[1] += 1,
            _ => counts[2] += 1,
        }
    }
    let mut text = "| case | the new program | comparisons | slower | no difference | faster |\n\
                    |---|---|---:|---:|---:|---:|\n"
        .to_owned();
    for ((case, every), [slower, same, faster]) in found {
        let what = match every.as_str() {
            "" => "is the old one".to_owned(),
            every => format!("repeats one call in {every}"),
        };
        let all = slower + same + faster;
        text += &format!("| {case} | {what} | {all} | {slower} | {same} | {faster} |\n");
    }
    text
}

/// The loops of each instruction set together.
fn loops(lines: &[Map<String, Value>]) -> String {
    let number = |line: &Map<String, Value>, field: &str| {
        let number = line.get(field).and_then(Value::as_f64);
        number.unwrap_or(f64::NAN)
    };
    let mut found: BTreeMap<String, Vec<&Map<String, Value>>> = BTreeMap::new();
    for line in lines {
        found.entry(word(line, "isa")).or_default().push(line);
    }
    let mut text = "| instruction set | loops | multiply-adds of all instructions, median | with spills | with \
                    moves |\n|---|---:|---:|---:|---:|\n"
        .to_owned();
    for (isa, loops) in found {
        let of = |field: &str| {
            loops
                .iter()
                .filter(|line| number(line, field) > 0.0)
                .count()
        };
        let shares: Vec<_> = loops
            .iter()
            .map(|line| number(line, "multiply_adds") / number(line, "instructions"))
            .collect();
        text += &format!(
            "| {isa} | {} | {:.0} % | {} | {} |\n",
            loops.len(),
            100.0 * median(&shares).unwrap_or(f64::NAN),
            of("spills"),
            of("moves")
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::tests::MACHINE;

    fn of(lines: &[&str]) -> Option<String> {
        let machine = serde_json::from_str(MACHINE).expect("a machine");
        let lines = lines
            .iter()
            .map(|line| serde_json::from_str(line).expect("an object"));
        table("zen", &machine, &lines.collect::<Vec<_>>())
    }

    #[test]
    fn comparisons_are_counted_by_what_was_compared() {
        let slowed = r#"{"suite":"compare","case":"a","slow_down_every":20,"verdict":"slower"}"#;
        let same = r#"{"suite":"compare","case":"a","slow_down_every":null,"verdict":"same"}"#;
        let expected = "\
Record `zen`: Fast, 2 cores, c, revision r.

| case | the new program | comparisons | slower | no difference | faster |
|---|---|---:|---:|---:|---:|
| a | is the old one | 1 | 0 | 1 | 0 |
| a | repeats one call in 20 | 2 | 2 | 0 | 0 |
";
        assert_eq!(of(&[slowed, slowed, same]).as_deref(), Some(expected));
    }

    #[test]
    fn loops_of_an_instruction_set_are_one_row() {
        let line = |instructions: u32, spills: u32| {
            format!(
                r#"{{"suite":"loops","isa":"avx2","multiply_adds":48,"instructions":{instructions},"spills":{spills},"moves":0}}"#
            )
        };
        let lines = [line(96, 0), line(60, 0), line(96, 3)];
        let text = of(&lines.each_ref().map(String::as_str)).expect("loops");
        assert!(text.ends_with("| avx2 | 3 | 50 % | 1 | 0 |\n"), "{text}");
        assert_eq!(of(&[r#"{"suite":"peak"}"#]), None);
        assert_eq!(of(&[]), None);
    }
}
