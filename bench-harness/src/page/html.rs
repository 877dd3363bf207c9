//! The page: one file, with everything in it.

use std::fmt::Write;

use super::cells::Cell;
use super::plot::{definitions, themed};
use super::tables::Table;

/// The looks of the page, without its colours.
const STYLE: &str = include_str!("page.css");

/// Sorts a table by the column whose head is pressed. Without it the tables are as they are.
const SCRIPT: &str = include_str!("page.js");

/// A plot on the page.
pub(crate) struct Plotted {
    pub(crate) name: String,
    pub(crate) title: String,
    pub(crate) caption: String,
    /// For a wide page and for a narrow one, in the colours of a light page.
    pub(crate) svg: [String; 2],
}

/// What the page says.
pub(crate) struct Page {
    pub(crate) title: String,
    /// Facts of the machine and the build, each with its name.
    pub(crate) facts: Vec<(&'static str, String)>,
    /// What a reader should know before using a figure.
    pub(crate) warnings: Vec<String>,
    pub(crate) plots: Vec<Plotted>,
    pub(crate) tables: Vec<Table>,
}

impl Page {
    /// The page as a file.
    pub(crate) fn html(&self) -> String {
        let mut body = format!("<h1>{}</h1>\n<dl>\n", escaped(&self.title));
        for (name, fact) in &self.facts {
            body += &format!("<dt>{name}</dt><dd>{}</dd>\n", escaped(fact));
        }
        body += "</dl>\n";
        for warning in &self.warnings {
            body += &format!("<p class=\"warning\">{}</p>\n", escaped(warning));
        }
        for plot in &self.plots {
            body += &figure(plot);
        }
        for table in &self.tables {
            body += &markup(table);
        }
        format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <title>{}</title>\n<style>\n{}{STYLE}</style>\n</head>\n<body>\n<main>\n{body}</main>\n\
             <script>\n{SCRIPT}</script>\n</body>\n</html>\n",
            escaped(&self.title),
            definitions()
        )
    }
}

fn figure(plot: &Plotted) -> String {
    let drawn = |svg: &str, class: &str| {
        // The size is that of the page; the shape is in the view box.
        let label = format!(
            "<svg class=\"{class}\" role=\"img\" aria-label=\"{}\" ",
            escaped(&plot.title)
        );
        themed(svg).replacen("<svg ", &label, 1)
    };
    format!(
        "<figure id=\"{}\">\n{}{}<figcaption>{}</figcaption>\n</figure>\n",
        plot.name,
        drawn(&plot.svg[0], "wide"),
        drawn(&plot.svg[1], "narrow"),
        escaped(&plot.caption)
    )
}

fn markup(table: &Table) -> String {
    let mut text = format!("<section>\n<h2>{}</h2>\n", escaped(table.title));
    if !table.note.is_empty() {
        text += &format!("<p>{}</p>\n", escaped(table.note));
    }
    text += "<div class=\"scroll\"><table>\n<thead><tr>";
    for (index, head) in table.head.iter().enumerate() {
        let is_number = table.rows.iter().any(|row| row[index].value.is_some());
        let class = if is_number { " class=\"number\"" } else { "" };
        text += &format!("<th scope=\"col\"{class}>{}</th>", escaped(head));
    }
    text += "</tr></thead>\n<tbody>\n";
    for row in &table.rows {
        text += "<tr>";
        for Cell { text: cell, value } in row {
            let written = match value {
                Some(value) => write!(text, "<td class=\"number\" data-value=\"{value}\">"),
                None => write!(text, "<td>"),
            };
            written.expect("a string takes all that is written");
            text += &escaped(cell);
            text += "</td>";
        }
        text += "</tr>\n";
    }
    text += "</tbody>\n</table></div>\n</section>\n";
    text
}

/// Text without what would be taken for markup.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_needs_nothing_from_elsewhere() {
        let cell = |text: &str, value| Cell {
            text: text.to_owned(),
            value,
        };
        let page = Page {
            title: "a < b".to_owned(),
            facts: vec![("CPU", "Fast & \"good\"".to_owned())],
            warnings: vec!["unsteady".to_owned()],
            plots: vec![Plotted {
                name: "plot".to_owned(),
                title: "plot".to_owned(),
                caption: "what it is".to_owned(),
                svg: [(); 2].map(|()| "<svg width=\"9\">\n</svg>\n".to_owned()),
            }],
            tables: vec![Table {
                title: "table",
                note: "",
                head: vec!["name", "time"],
                rows: vec![vec![cell("x", None), cell("2 us", Some(2e3))]],
            }],
        };
        let html = page.html();
        for part in [
            "<title>a &lt; b</title>",
            "Fast &amp; &quot;good&quot;",
            "<th scope=\"col\" class=\"number\">time</th>",
            "<td class=\"number\" data-value=\"2000\">2 us</td>",
            "<svg class=\"narrow\" role=\"img\" aria-label=\"plot\" width=\"9\">",
        ] {
            assert!(html.contains(part), "no {part} in {html}");
        }
        for address in ["http:", "https:", "src=", "href=", "@import", "url("] {
            assert!(!html.contains(address), "{address} in {html}");
        }
        for (open, close) in [
            ("<table", "</table>"),
            ("<figure", "</figure>"),
            ("<tr>", "</tr>"),
        ] {
            assert_eq!(
                html.matches(open).count(),
                html.matches(close).count(),
                "{open}"
            );
        }
    }
}
