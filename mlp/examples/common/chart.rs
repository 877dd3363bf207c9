//! The loss of each epoch as a line chart.

use std::error::Error;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use plotters::prelude::*;

use super::training::Outcome;

/// Width and height of the chart, in pixels.
const SIZE: (u32, u32) = (800, 500);

/// A file for a chart.
pub(crate) struct Chart {
    path: PathBuf,
    file: File,
}

impl Chart {
    /// Makes the file, and the folders on the way to it: before a training rather than after it.
    pub(crate) fn create(path: PathBuf) -> Result<Self, Box<dyn Error>> {
        let made = path.parent().map_or(Ok(()), fs::create_dir_all);
        let file = made.and_then(|()| File::create(&path));
        match file {
            Ok(file) => Ok(Self { path, file }),
            Err(error) => Err(format!("{}: {error}", path.display()).into()),
        }
    }

    /// Where the file is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Draws two lines for each training: its own loss, and the loss on the test samples.
    ///
    /// The vertical axis is logarithmic: a loss falls by factors.
    pub(crate) fn draw_losses(&mut self, outcomes: &[Outcome]) -> Result<(), Box<dyn Error>> {
        let mut svg = String::new();
        draw(
            outcomes,
            SVGBackend::with_string(&mut svg, SIZE).into_drawing_area(),
        )?;
        self.file
            .write_all(svg.as_bytes())
            .map_err(|error| format!("{}: {error}", self.path.display()).into())
    }
}

fn draw(
    outcomes: &[Outcome],
    area: DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
) -> Result<(), Box<dyn Error>> {
    let train = |outcome: &Outcome| -> Vec<(f64, f64)> {
        let points = outcome.history.iter();
        points
            .map(|epoch| (epoch.epoch as f64, epoch.loss.into()))
            .collect()
    };
    let test = |outcome: &Outcome| -> Vec<(f64, f64)> {
        let points = outcome.history.iter();
        points
            .filter_map(|epoch| Some((epoch.epoch as f64, epoch.validation?.loss.into())))
            .collect()
    };
    let all: Vec<(f64, f64)> = outcomes
        .iter()
        .flat_map(|o| [train(o), test(o)].concat())
        .collect();
    let positive = || all.iter().map(|point| point.1).filter(|&loss| loss > 0.0);
    let epochs = all.iter().map(|point| point.0).fold(1.0, f64::max);
    let (low, high) = (
        positive().fold(1.0, f64::min),
        positive().fold(1e-9, f64::max),
    );
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption("loss of each epoch", ("sans-serif", 20))
        .margin(16)
        .x_label_area_size(40)
        .y_label_area_size(64)
        .build_cartesian_2d(1.0..epochs.max(2.0), (low..high).log_scale())?;
    chart
        .configure_mesh()
        .x_desc("epoch")
        .x_label_formatter(&|epoch| format!("{epoch:.0}"))
        .y_desc("mean cross-entropy")
        .draw()?;
    for (label, colour, points) in [
        (
            "training samples",
            &BLUE,
            &train as &dyn Fn(&Outcome) -> Vec<(f64, f64)>,
        ),
        ("test samples", &RED, &test),
    ] {
        for (number, outcome) in outcomes.iter().enumerate() {
            let line = chart.draw_series(LineSeries::new(points(outcome), colour))?;
            if number == 0 {
                line.label(label)
                    .legend(|(x, y)| PathElement::new([(x, y), (x + 20, y)], *colour));
            }
        }
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK)
        .draw()?;
    area.present()?;
    Ok(())
}
