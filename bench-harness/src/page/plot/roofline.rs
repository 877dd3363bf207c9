//! What is reached against what the machine allows (S. Williams, A. Waterman and D. Patterson,
//! *Roofline*, 2009): `flop/s <= min(peak, flop/byte x bandwidth)`.

use plotters::prelude::*;

use super::axis::{Axis, Scale, short};
use super::chart::{Series, Stroke, draw_series, frame};
use super::labels::{Rect, place};
use super::{Area, Drawn, INK, MUTED, SERIES, text_left, width};

/// Size of labels, in pixels.
const LABEL: f64 = 11.0;

/// Height of a line of the key.
const KEY_LINE: i32 = 16;

const RADIUS: i32 = 3;

/// Radius of a point without a label.
const SMALL_RADIUS: i32 = 2;

/// Highest rate on the axis, as a multiple of the peak.
const HEADROOM: f64 = 2.0;

/// Plots narrower than this have numbers at their points, and a key below.
const NARROW: u32 = 600;

/// Something that bounds the rate.
#[derive(Clone, Debug)]
pub(crate) struct Ceiling {
    pub(crate) name: String,
    pub(crate) bound: Bound,
}

/// How it bounds it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Bound {
    /// GFLOP/s, whatever is read.
    Rate(f64),
    /// GB/s.
    Bandwidth(f64),
}

/// What was reached by one kernel.
#[derive(Clone, Debug)]
pub(crate) struct Reached {
    pub(crate) name: String,
    pub(crate) flop_per_byte: f64,
    pub(crate) gflop_per_s: f64,
}

/// A roofline.
#[derive(Clone, Debug)]
pub(crate) struct Roofline {
    pub(crate) title: String,
    pub(crate) ceilings: Vec<Ceiling>,
    /// Points with labels.
    pub(crate) reached: Vec<Reached>,
    /// Points without, whose labels would lie upon each other.
    pub(crate) others: Vec<Reached>,
}

impl Roofline {
    /// The highest rate among the ceilings.
    fn peak(&self) -> f64 {
        let rates = self.ceilings.iter().map(|ceiling| match ceiling.bound {
            Bound::Rate(rate) => rate,
            Bound::Bandwidth(_) => 0.0,
        });
        rates.fold(0.0, f64::max)
    }

    fn axes(&self) -> (Axis, Axis) {
        let all = || self.reached.iter().chain(&self.others);
        let x = all().map(|reached| reached.flop_per_byte);
        let y = all().map(|reached| reached.gflop_per_s);
        let (x_title, y_title) = ("flop per byte", "GFLOP/s");
        let x = Axis::over(x_title, Scale::Log, x);
        // Most points lie below the peak, side by side: their labels go above it.
        let y = y.chain([HEADROOM * self.peak()]);
        let y: Vec<_> = y.collect();
        let y = Axis::over(y_title, Scale::Log, y.into_iter());
        // Room for labels beside the first and the last point.
        let x = Axis {
            low: x.low / 1.5,
            high: x.high * 2.0,
            ..x
        };
        (x, y)
    }

    /// The ceilings as lines, cut off at the peak.
    fn lines(&self, x: &Axis, y: &Axis) -> Vec<Series> {
        let peak = self.peak();
        let line = |(index, ceiling): (usize, &Ceiling)| {
            let (name, points) = match ceiling.bound {
                Bound::Rate(rate) => (
                    format!("{} {} GFLOP/s", ceiling.name, short(rate)),
                    vec![(x.low, rate), (x.high, rate)],
                ),
                Bound::Bandwidth(bandwidth) => {
                    let ridge = (peak / bandwidth).min(x.high);
                    // Below the plot the line has left it.
                    let first = (y.low / bandwidth).max(x.low);
                    (
                        format!("{} {} GB/s", ceiling.name, short(bandwidth)),
                        vec![(first, first * bandwidth), (ridge, ridge * bandwidth)],
                    )
                }
            };
            let is_rate = matches!(ceiling.bound, Bound::Rate(_));
            Series {
                name,
                points: if points[0].0 < points[1].0 {
                    points
                } else {
                    Vec::new()
                },
                colour: index,
                stroke: if is_rate {
                    Stroke::Plain
                } else {
                    Stroke::Dashed
                },
            }
        };
        self.ceilings.iter().enumerate().map(line).collect()
    }

    /// Draws the plot.
    pub(crate) fn draw(&self, area: &Area<'_>) -> Drawn<()> {
        let (area_width, area_height) = area.dim_in_pixel();
        let is_narrow = area_width < NARROW;
        let columns = if is_narrow { 2 } else { 1 };
        let key = if is_narrow {
            self.reached.len().div_ceil(columns) as i32 * KEY_LINE + KEY_LINE / 2
        } else {
            0
        };
        let (plot, below) = area.split_vertically(area_height as i32 - key);
        let (x, y) = self.axes();
        let lines = self.lines(&x, &y);
        let mut frame = frame(&plot, &self.title, &x, &y, &lines)?;
        for line in &lines {
            draw_series(&mut frame, &x, &y, line)?;
        }
        let (left_right, top_bottom) = frame.plotting_area().get_pixel_range();
        let inside = Rect {
            left: f64::from(left_right.start) + 2.0,
            right: f64::from(left_right.end) - 2.0,
            top: f64::from(top_bottom.start) + 2.0,
            bottom: f64::from(top_bottom.end) - 2.0,
        };
        let pixel = |(a, b): (f64, f64)| {
            let place = |axis: &Axis, value| axis.place(value).unwrap_or_default();
            let (x, y) = frame.backend_coord(&(place(&x, a), place(&y, b)));
            (f64::from(x), f64::from(y))
        };
        let places = |reached: &[Reached]| -> Vec<_> {
            let points = reached.iter();
            points
                .map(|reached| pixel((reached.flop_per_byte, reached.gflop_per_s)))
                .collect()
        };
        let (points, others) = (places(&self.reached), places(&self.others));
        for (x, y) in &others {
            let at = (x.round() as i32, y.round() as i32);
            area.draw(&Circle::new(at, SMALL_RADIUS, MUTED.light.filled()))?;
        }
        let lines: Vec<_> = lines
            .iter()
            .filter_map(|line| <[_; 2]>::try_from(line.points.as_slice()).ok())
            .map(|ends| ends.map(pixel))
            .collect();
        let texts: Vec<_> = self
            .reached
            .iter()
            .enumerate()
            .map(|(index, reached)| {
                if is_narrow {
                    (index + 1).to_string()
                } else {
                    reached.name.clone()
                }
            })
            .collect();
        draw_points(area, [&points, &others], &texts, &lines, inside)?;
        if is_narrow {
            self.draw_key(&below, columns)?;
        }
        Ok(())
    }

    fn draw_key(&self, area: &Area<'_>, columns: usize) -> Drawn<()> {
        let (area_width, _) = area.dim_in_pixel();
        let rows = self.reached.len().div_ceil(columns);
        for (index, reached) in self.reached.iter().enumerate() {
            let x = (index / rows) as i32 * (area_width as i32 / columns as i32) + 10;
            let y = (index % rows) as i32 * KEY_LINE + KEY_LINE / 2;
            let line = format!("{} {}", index + 1, reached.name);
            area.draw_text(&line, &text_left(LABEL, &INK), (x, y))?;
        }
        Ok(())
    }
}

/// Draws the points and their names, in pixels of the whole plot, beside those that are there and have none.
fn draw_points(
    area: &Area<'_>,
    [points, others]: [&[(f64, f64)]; 2],
    texts: &[String],
    lines: &[[(f64, f64); 2]],
    inside: Rect,
) -> Drawn<()> {
    let pixel = |(x, y): (f64, f64)| (x.round() as i32, y.round() as i32);
    let sizes: Vec<_> = texts
        .iter()
        .map(|text| (width(text, LABEL), LABEL + 3.0))
        .collect();
    let all = [points, others].concat();
    for label in place(&all, &sizes, f64::from(RADIUS), lines, inside) {
        if let Some(leader) = label.leader {
            let line = leader.map(pixel);
            area.draw(&PathElement::new(line, MUTED.light.stroke_width(1)))?;
        }
        let Rect {
            left, top, bottom, ..
        } = label.place;
        let at = pixel((left, (top + bottom) / 2.0));
        area.draw_text(&texts[label.point], &text_left(LABEL, &INK), at)?;
    }
    for &point in points {
        area.draw(&Circle::new(pixel(point), RADIUS, SERIES[1].light.filled()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::plot::draw;

    fn roofline() -> Roofline {
        let ceiling = |name: &str, bound| Ceiling {
            name: name.to_owned(),
            bound,
        };
        Roofline {
            title: "roofline".to_owned(),
            ceilings: vec![
                ceiling("peak", Bound::Rate(100.0)),
                ceiling("memory", Bound::Bandwidth(20.0)),
            ],
            reached: (0..20)
                .map(|i| Reached {
                    name: format!("gemm nt 128x512x{i}"),
                    flop_per_byte: 1.0 + f64::from(i % 5),
                    gflop_per_s: 80.0 + f64::from(i),
                })
                .collect(),
            others: vec![Reached {
                name: "unnamed".to_owned(),
                flop_per_byte: 0.01,
                gflop_per_s: 1.0,
            }],
        }
    }

    #[test]
    fn what_has_no_label_has_a_point() {
        let circles = |roofline: &Roofline| {
            let svg = draw((960, 560), |area| roofline.draw(area)).expect("a plot");
            assert!(!svg.contains("unnamed"), "{svg}");
            svg.matches("<circle").count()
        };
        assert_eq!(circles(&roofline()), 21);
        assert!(roofline().axes().0.low <= 0.01);
    }

    #[test]
    fn every_point_has_its_name_wide_and_narrow() {
        for size in [(960, 560), (400, 640)] {
            let svg = draw(size, |area| roofline().draw(area)).expect("a plot");
            for i in 0..20 {
                let name = format!("gemm nt 128x512x{i}\n");
                assert!(svg.contains(&name), "{size:?}: no {name}");
            }
            assert!(svg.contains("memory 20 GB/s"), "{size:?}");
        }
    }

    #[test]
    fn a_bandwidth_ends_at_the_peak() {
        let roofline = roofline();
        let (x, y) = roofline.axes();
        let lines = roofline.lines(&x, &y);
        let (_, highest) = lines[1].points[1];
        assert!(highest <= 100.0 + 1e-9);
        for (flop_per_byte, rate) in &lines[1].points {
            assert!((rate / flop_per_byte - 20.0).abs() < 1e-9);
        }
    }
}
