//! Points on two arms that turn around each other.

use std::f32::consts::TAU;

use mlp::{DataError, Dataset};

/// So many points, on two arms in turn, that make so many turns from the middle outwards.
pub(crate) fn spirals(points: usize, turns: f32) -> Result<Dataset, DataError> {
    let label = |i: usize| (i % 2) as u32;
    let point = |i: usize| {
        let t = (i / 2) as f32 / (points / 2) as f32;
        let angle = turns * TAU * t + TAU / 2.0 * label(i) as f32;
        let radius = 0.2 + 1.8 * t;
        [radius * angle.cos(), radius * angle.sin()]
    };
    let values = (0..points).flat_map(point).collect();
    Dataset::classes(values, 2, (0..points).map(label).collect())
}
