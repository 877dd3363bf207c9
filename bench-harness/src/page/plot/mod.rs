//! Plots as SVG, and as pixels, without a font of the system.
//!
//! A plot is drawn once for each width it is read at. Its colours are those of a light page; a page
//! or a file that follows the reader's scheme has names in their place ([`themed`]).

pub(crate) mod axis;
pub(crate) mod chart;
pub(crate) mod labels;
pub(crate) mod png;
pub(crate) mod roofline;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// What is drawn on.
pub(crate) type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// What can go wrong while drawing: nothing that depends on what is drawn, as it goes to memory.
pub(crate) type Drawn<T> = Result<T, DrawingAreaErrorKind<std::io::Error>>;

/// The names that a browser tries in turn; the first is that of the font shipped for pixels.
const FAMILY: &str = "DejaVu Sans, Verdana, sans-serif";

/// plotters divides the size of a font by this before it writes it.
const FONT_SCALE: f64 = 1.24;

/// Width of a character, as part of the size of the font: that of a digit, which is above the mean.
const CHARACTER: f64 = 0.64;

/// A colour with its name in style sheets, and its two values.
pub(crate) struct Colour {
    pub(crate) name: &'static str,
    pub(crate) light: RGBColor,
    pub(crate) dark: RGBColor,
}

const fn colour(name: &'static str, light: [u8; 3], dark: [u8; 3]) -> Colour {
    Colour {
        name,
        light: RGBColor(light[0], light[1], light[2]),
        dark: RGBColor(dark[0], dark[1], dark[2]),
    }
}

/// Background, text, secondary text, grid.
pub(crate) const PAPER: Colour = colour("paper", [255, 255, 255], [13, 17, 23]);
pub(crate) const INK: Colour = colour("ink", [31, 35, 40], [230, 237, 243]);
pub(crate) const MUTED: Colour = colour("muted", [89, 99, 110], [145, 152, 161]);
pub(crate) const GRID: Colour = colour("grid", [225, 228, 232], [48, 54, 61]);

/// The colours of series; each differs from its neighbours for those who see few colours too.
pub(crate) const SERIES: [Colour; 7] = [
    colour("series-1", [9, 105, 218], [88, 166, 255]),
    colour("series-2", [188, 76, 0], [240, 136, 62]),
    colour("series-3", [26, 127, 55], [63, 185, 80]),
    colour("series-4", [130, 80, 223], [188, 140, 255]),
    colour("series-5", [191, 57, 137], [247, 120, 186]),
    colour("series-6", [154, 103, 0], [210, 153, 34]),
    colour("series-7", [80, 90, 100], [160, 170, 180]),
];

/// All colours.
fn colours() -> impl Iterator<Item = &'static Colour> {
    [&PAPER, &INK, &MUTED, &GRID].into_iter().chain(&SERIES)
}

/// `#RRGGBB`, as plotters writes it.
fn hex(RGBColor(r, g, b): RGBColor) -> String {
    format!("#{r:02X}{g:02X}{b:02X}")
}

/// Definitions of the colours for both schemes, for a style sheet.
pub(crate) fn definitions() -> String {
    let of = |value: fn(&Colour) -> RGBColor| -> String {
        colours()
            .map(|colour| format!("--{}:{};", colour.name, hex(value(colour))))
            .collect()
    };
    format!(
        ":root{{color-scheme:light dark;{}}}\n\
         @media(prefers-color-scheme:dark){{:root{{{}}}}}\n",
        of(|colour| colour.light),
        of(|colour| colour.dark)
    )
}

/// The plot with names in place of its colours.
pub(crate) fn themed(svg: &str) -> String {
    colours().fold(svg.to_owned(), |svg, colour| {
        let quoted = format!("\"{}\"", hex(colour.light));
        svg.replace(&quoted, &format!("\"var(--{})\"", colour.name))
    })
}

/// The plot as a file of its own that follows the reader's scheme.
pub(crate) fn standalone(svg: &str) -> String {
    let themed = themed(svg);
    match themed.split_once('\n') {
        Some((head, rest)) => format!("{head}\n<style>\n{}</style>\n{rest}", definitions()),
        None => themed,
    }
}

/// Draws on an area of this size with the background of a page.
pub(crate) fn draw(
    size: (u32, u32),
    what: impl FnOnce(&Area<'_>) -> Drawn<()>,
) -> anyhow::Result<String> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        area.fill(&PAPER.light)?;
        what(&area)?;
        area.present()?;
    }
    Ok(svg)
}

/// Text of so many pixels.
pub(crate) fn text(pixels: f64, colour: &'static Colour) -> TextStyle<'static> {
    let font = FontDesc::new(
        FontFamily::Name(FAMILY),
        FONT_SCALE * pixels,
        FontStyle::Normal,
    );
    TextStyle::from(font).color(&colour.light)
}

/// The same, with `(x, y)` at the left of its middle.
pub(crate) fn text_left(pixels: f64, colour: &'static Colour) -> TextStyle<'static> {
    text(pixels, colour).pos(Pos::new(HPos::Left, VPos::Center))
}

/// How wide a text is at most, in pixels.
pub(crate) fn width(text: &str, pixels: f64) -> f64 {
    CHARACTER * pixels * text.chars().count() as f64
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_colour_has_one_name_and_one_light_value() {
        let all: Vec<_> = colours().collect();
        let names: BTreeSet<_> = all.iter().map(|colour| colour.name).collect();
        let values: BTreeSet<_> = all.iter().map(|colour| hex(colour.light)).collect();
        assert_eq!((names.len(), values.len()), (all.len(), all.len()));
    }

    #[test]
    fn a_themed_plot_names_all_its_colours() {
        let svg = draw((200, 100), |area| {
            area.draw_text("a < b", &text_left(12.0, &INK), (5, 50))?;
            area.draw(&Circle::new((50, 50), 3, SERIES[2].light.filled()))
        })
        .expect("a plot");
        assert!(svg.contains(&hex(INK.light)) && svg.contains("a &lt; b"));
        let themed = themed(&svg);
        assert!(!themed.contains('#'), "{themed}");
        for name in ["var(--paper)", "var(--ink)", "var(--series-3)"] {
            assert!(themed.contains(name), "{themed}");
        }
        assert!(standalone(&svg).contains("prefers-color-scheme"));
    }
}
