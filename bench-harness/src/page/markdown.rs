//! Some of the tables of a report in Markdown, for documents that show what a record of one says.

use serde_json::{Map, Value};

use super::line::Line;
use super::tables::{Table, tables};
use crate::records::Machine;

/// Those that are about the machine and the project, and short.
const SHOWN: [&str; 6] = [
    "Machine: multiply-adds in registers",
    "Machine: bandwidths",
    "Machine: hand-over between two threads",
    "Vector operations",
    "Growth of cost",
    "How long a step takes at worst",
];

/// The tables, below a line about the record.
pub(crate) fn markdown(name: &str, machine: &Machine, lines: Vec<Map<String, Value>>) -> String {
    let lines: Vec<_> = lines.into_iter().map(Line).collect();
    let mut text = format!(
        "Record `{name}`: {}, {}, revision {}.\n",
        machine.name(),
        machine.rustc,
        machine.revision
    );
    for table in tables(&lines) {
        if SHOWN.contains(&table.title) {
            text += &of(&table);
        }
    }
    text
}

fn of(table: &Table) -> String {
    let mut text = format!("\n{}. {}\n\n", table.title, table.note);
    text += &format!("| {} |\n", table.head.join(" | "));
    for column in 0..table.head.len() {
        let is_number = table.rows.iter().any(|row| row[column].value.is_some());
        text += if is_number { "|---:" } else { "|---" };
    }
    text += "|\n";
    for row in &table.rows {
        let cells: Vec<_> = row.iter().map(|cell| cell.text.as_str()).collect();
        text += &format!("| {} |\n", cells.join(" | "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::line::tests::line;

    #[test]
    fn a_short_table_is_shown_and_a_long_one_is_not() {
        let machine = r#"{"schema_version":1,"suite":"machine","cpu":"Fast","cores":2,"revision":"r","rustc":"c","unix_seconds":9}"#;
        let machine = serde_json::from_str(machine).expect("a machine");
        let lines = [
            r#"{"suite":"peak","kind":"hand_over","helper":"spinning","hand_over_ns":250,"min":200,"max":300,"mad":10}"#,
            r#"{"suite":"gemm","impl":"ours","op":"nn","m":2,"n":2,"k":2,"threads":1,"median_ns":9}"#,
        ];
        let lines = lines.map(|text| line(text).0).into();
        let expected = "\
Record `zen`: Fast, 2 cores, c, revision r.

Machine: hand-over between two threads. From before a phase until both have met in it.

| helper | ns | least | most | MAD |
|---|---:|---:|---:|---:|
| spinning | 250 | 200.00 | 300.00 | 10.00 |
";
        assert_eq!(markdown("zen", &machine, lines), expected);
    }
}
