//! A frame with axes and a legend, and lines in it.

use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint};
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;

use super::axis::{Axis, short};
use super::{Area, Colour, Drawn, GRID, INK, MUTED, SERIES, text, text_left, width};

/// Sizes of text, in pixels.
const TITLE: f64 = 15.0;
const NOTE: f64 = 12.0;

/// Heights of a line of the title and of the legend.
const TITLE_LINE: i32 = 26;
const LEGEND_LINE: i32 = 19;

/// Left of the legend's text: its mark.
const MARK: i32 = 18;

const MARGIN: i32 = 12;

/// Pixels that a number beside an axis takes.
const TICK_WIDTH: u32 = 52;
const TICK_HEIGHT: u32 = 34;

/// How points are joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stroke {
    /// A line with a disc for each point.
    Marked,
    /// A line alone.
    Plain,
    /// What is to be compared with.
    Dashed,
    /// Discs alone.
    Discs,
}

/// Points under one name.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
    /// Index into [`SERIES`], which is begun anew when it ends.
    pub(crate) colour: usize,
    pub(crate) stroke: Stroke,
}

impl Series {
    pub(super) fn colour(&self) -> &'static Colour {
        &SERIES[self.colour % SERIES.len()]
    }
}

/// A plot of lines.
#[derive(Clone, Debug)]
pub(crate) struct Chart {
    pub(crate) title: String,
    pub(crate) x: Axis,
    pub(crate) y: Axis,
    pub(crate) series: Vec<Series>,
}

type Coordinates = Cartesian2d<Ticked, Ticked>;

/// A range with the places that something is written at.
#[derive(Clone)]
pub(super) struct Ticked {
    range: RangedCoordf64,
    places: Vec<f64>,
}

impl Ticked {
    fn new(axis: &Axis, ticks: &[f64]) -> Self {
        Self {
            range: axis.range().into(),
            places: ticks.iter().filter_map(|&tick| axis.place(tick)).collect(),
        }
    }
}

impl Ranged for Ticked {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, pixels: (i32, i32)) -> i32 {
        self.range.map(value, pixels)
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        // Light lines would lie between the others.
        if hint.weight().allow_light_points() {
            Vec::new()
        } else {
            self.places.clone()
        }
    }

    fn range(&self) -> std::ops::Range<f64> {
        self.range.range()
    }
}

/// A frame that is drawn, ready for what goes into it; in units of [`Axis::place`].
pub(super) type Frame<'b> = ChartContext<'b, SVGBackend<'b>, Coordinates>;

impl Chart {
    /// Draws the plot.
    pub(crate) fn draw(&self, area: &Area<'_>) -> Drawn<()> {
        let mut frame = frame(area, &self.title, &self.x, &self.y, &self.series)?;
        for series in &self.series {
            draw_series(&mut frame, &self.x, &self.y, series)?;
        }
        Ok(())
    }
}

/// Draws the lines and discs of one series.
pub(super) fn draw_series(frame: &mut Frame<'_>, x: &Axis, y: &Axis, series: &Series) -> Drawn<()> {
    let colour = series.colour().light;
    let points: Vec<_> = series
        .points
        .iter()
        .filter_map(|&(a, b)| x.place(a).zip(y.place(b)))
        .collect();
    let line = colour.stroke_width(2);
    match series.stroke {
        Stroke::Dashed => {
            let dashes = DashedLineSeries::new(points.iter().copied(), 6, 5, line);
            frame.draw_series(dashes)?;
        }
        Stroke::Marked | Stroke::Plain => {
            frame.draw_series(LineSeries::new(points.iter().copied(), line))?;
        }
        Stroke::Discs => {}
    }
    if matches!(series.stroke, Stroke::Marked | Stroke::Discs) {
        let discs = points
            .into_iter()
            .map(|point| Circle::new(point, 3, colour.filled()));
        frame.draw_series(discs)?;
    }
    Ok(())
}

/// Draws title, legend and axes.
pub(super) fn frame<'b>(
    area: &Area<'b>,
    title: &str,
    x: &Axis,
    y: &Axis,
    series: &[Series],
) -> Drawn<Frame<'b>> {
    area.draw_text(
        title,
        &text_left(TITLE, &INK),
        (MARGIN, MARGIN + TITLE_LINE / 2 - 2),
    )?;
    let top = legend(area, series, MARGIN + TITLE_LINE)?;
    let (_, body) = area.split_vertically(top + MARGIN / 2);
    let (body_width, body_height) = body.dim_in_pixel();
    let (x_ticks, y_ticks) = (
        x.ticks((body_width / TICK_WIDTH) as usize),
        y.ticks((body_height / TICK_HEIGHT) as usize),
    );
    let widest = y_ticks.iter().map(|&tick| width(&short(tick), NOTE));
    let left = widest.fold(0.0, f64::max) as u32 + 30;
    let mut frame = ChartBuilder::on(&body)
        .margin_left(4)
        .margin_right(2 * MARGIN)
        .margin_bottom(4)
        .margin_top(MARGIN / 2)
        .x_label_area_size(44)
        .y_label_area_size(left)
        .build_cartesian_2d(Ticked::new(x, &x_ticks), Ticked::new(y, &y_ticks))?;
    let note = text(NOTE, &MUTED);
    let written = |axis: &Axis, ticks: Vec<f64>| {
        let axis = axis.clone();
        move |place: &f64| {
            let distance = |tick: f64| axis.place(tick).map_or(f64::MAX, |at| (at - place).abs());
            let nearest = ticks
                .iter()
                .copied()
                .min_by(|&a, &b| distance(a).total_cmp(&distance(b)));
            nearest.map(short).unwrap_or_default()
        }
    };
    frame
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID.light)
        .axis_style(MUTED.light)
        .label_style(note.clone())
        .axis_desc_style(note)
        .x_label_formatter(&written(x, x_ticks))
        .y_label_formatter(&written(y, y_ticks))
        .x_desc(x.title.clone())
        .y_desc(y.title.clone())
        .draw()?;
    Ok(frame)
}

/// Writes the names of the series, in as many lines as they need; returns where the last one ends.
fn legend(area: &Area<'_>, series: &[Series], top: i32) -> Drawn<i32> {
    let (area_width, _) = area.dim_in_pixel();
    let (mut x, mut y) = (MARGIN, top);
    for series in series.iter().filter(|series| !series.name.is_empty()) {
        let taken = MARK + 4 + width(&series.name, NOTE) as i32 + MARGIN;
        if x > MARGIN && x + taken > area_width as i32 - MARGIN {
            (x, y) = (MARGIN, y + LEGEND_LINE);
        }
        let middle = y + LEGEND_LINE / 2;
        mark(area, series, (x, middle))?;
        area.draw_text(&series.name, &text_left(NOTE, &INK), (x + MARK + 4, middle))?;
        x += taken;
    }
    let is_empty = series.iter().all(|series| series.name.is_empty());
    Ok(if is_empty { top } else { y + LEGEND_LINE })
}

/// What a series looks like, beside its name.
fn mark(area: &Area<'_>, series: &Series, (x, y): (i32, i32)) -> Drawn<()> {
    let colour = series.colour().light;
    let stroke = colour.stroke_width(2);
    let line = |from: i32, to: i32| PathElement::new([(x + from, y), (x + to, y)], stroke);
    match series.stroke {
        Stroke::Dashed => {
            area.draw(&line(0, 7))?;
            area.draw(&line(11, MARK))?;
        }
        Stroke::Marked | Stroke::Plain => area.draw(&line(0, MARK))?,
        Stroke::Discs => {}
    }
    if matches!(series.stroke, Stroke::Marked | Stroke::Discs) {
        area.draw(&Circle::new((x + MARK / 2, y), 3, colour.filled()))?;
    }
    Ok(())
}
