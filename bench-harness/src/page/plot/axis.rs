//! Axes: what is plotted where, and which values are written beside them.

/// How values become places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scale {
    Linear,
    /// Equal factors are equally far apart; values of 0 and less have no place.
    Log,
    /// The same, with powers of 2 beside it.
    Log2,
}

/// An axis and what it shows.
#[derive(Clone, Debug)]
pub(crate) struct Axis {
    pub(crate) title: String,
    pub(crate) scale: Scale,
    /// Lowest and highest value.
    pub(crate) low: f64,
    pub(crate) high: f64,
}

impl Axis {
    /// An axis that shows all of `values`, with a little room at both ends.
    pub(crate) fn over(
        title: impl Into<String>,
        scale: Scale,
        values: impl Iterator<Item = f64> + Clone,
    ) -> Self {
        let usable = values.filter(|&v| v.is_finite() && (scale == Scale::Linear || v > 0.0));
        let low = usable.clone().fold(f64::INFINITY, f64::min);
        let high = usable.fold(f64::NEG_INFINITY, f64::max);
        let (low, high) = match scale {
            _ if low > high => (1.0, 10.0),
            // Lengths from 0 can be compared.
            Scale::Linear => (low.min(0.0), if high > 0.0 { 1.05 * high } else { 1.0 }),
            Scale::Log => (low / 1.25, high * 1.25),
            Scale::Log2 => (low / 1.1, high * 1.1),
        };
        Self {
            title: title.into(),
            scale,
            low,
            high,
        }
    }

    /// Where a value lies, in units that grow evenly along the axis; `None` if it lies nowhere.
    pub(crate) fn place(&self, value: f64) -> Option<f64> {
        let place = match self.scale {
            Scale::Linear => value,
            Scale::Log => value.log10(),
            Scale::Log2 => value.log2(),
        };
        place.is_finite().then_some(place)
    }

    /// The ends of the axis.
    pub(crate) fn range(&self) -> std::ops::Range<f64> {
        self.place(self.low).unwrap_or(0.0)..self.place(self.high).unwrap_or(1.0)
    }

    /// The values written beside the axis, at most about `most` of them, lowest first.
    pub(crate) fn ticks(&self, most: usize) -> Vec<f64> {
        let most = most.max(2);
        let inside = |value: &f64| (self.low..=self.high).contains(value);
        match self.scale {
            Scale::Linear => {
                let span = (self.high - self.low) / most as f64;
                let magnitude = 10_f64.powf(span.log10().floor());
                let step = [1.0, 2.0, 5.0, 10.0]
                    .map(|factor| factor * magnitude)
                    .into_iter()
                    .find(|&step| step >= span)
                    .unwrap_or(span);
                let first = (self.low / step).ceil() as i64;
                let last = (self.high / step).floor() as i64;
                (first..=last).map(|index| index as f64 * step).collect()
            }
            Scale::Log => {
                let decades = self.low.log10().floor() as i32..=self.high.log10().ceil() as i32;
                let of = |factors: &[f64]| -> Vec<f64> {
                    decades
                        .clone()
                        .flat_map(|decade| {
                            factors
                                .iter()
                                .map(move |factor| factor * 10_f64.powi(decade))
                        })
                        .filter(inside)
                        .collect()
                };
                let densest = [&[1.0, 2.0, 5.0][..], &[1.0, 3.0], &[1.0]]
                    .into_iter()
                    .map(of)
                    .find(|ticks| ticks.len() <= most);
                densest.unwrap_or_else(|| thinned(of(&[1.0]), most))
            }
            Scale::Log2 => {
                let powers = self.low.log2().ceil() as i32..=self.high.log2().floor() as i32;
                thinned(powers.map(|power| 2_f64.powi(power)).collect(), most)
            }
        }
    }
}

/// Every second, third ... of the ticks, so that at most `most` are left.
fn thinned(ticks: Vec<f64>, most: usize) -> Vec<f64> {
    let every = ticks.len().div_ceil(most).max(1);
    ticks.into_iter().step_by(every).collect()
}

/// A value in few characters: `0.25`, `12.5`, `128`, `65k`, `2M`.
pub(crate) fn short(value: f64) -> String {
    let size = value.abs();
    let (value, unit) = match size {
        _ if size >= 1e9 => (value / 1e9, "G"),
        _ if size >= 1e6 => (value / 1e6, "M"),
        _ if size >= 1e4 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    // Three digits, without what only fills up.
    let digits = (2.0 - value.abs().max(1e-6).log10().floor()).clamp(0.0, 6.0) as usize;
    let text = format!("{value:.digits$}");
    let text = if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.')
    } else {
        &text
    };
    format!("{text}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axis(scale: Scale, low: f64, high: f64) -> Axis {
        Axis {
            title: String::new(),
            scale,
            low,
            high,
        }
    }

    #[test]
    fn ticks_are_round_and_few() {
        let ticks = axis(Scale::Linear, 0.0, 105.0).ticks(6);
        assert_eq!(ticks, [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]);
        let ticks = axis(Scale::Log, 0.7, 60.0).ticks(9);
        assert_eq!(ticks, [1.0, 2.0, 5.0, 10.0, 20.0, 50.0]);
        assert_eq!(axis(Scale::Log, 0.7, 60.0).ticks(3), [1.0, 10.0]);
        let ticks = axis(Scale::Log2, 7.0, 600.0).ticks(9);
        assert_eq!(ticks, [8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0]);
        assert_eq!(
            axis(Scale::Log2, 7.0, 600.0).ticks(4),
            [8.0, 32.0, 128.0, 512.0]
        );
    }

    #[test]
    fn an_axis_shows_all_that_has_a_place() {
        let values = [0.0, 3.0, f64::NAN, 50.0];
        let log = Axis::over("", Scale::Log, values.into_iter());
        assert!(log.low < 3.0 && log.high > 50.0);
        assert_eq!(log.place(0.0), None);
        let linear = Axis::over("", Scale::Linear, values.into_iter());
        assert_eq!(linear.low, 0.0);
        let empty = Axis::over("", Scale::Log, [].into_iter());
        assert!(empty.range().start < empty.range().end);
    }

    #[test]
    fn values_are_short() {
        for (value, text) in [
            (0.0, "0"),
            (0.25, "0.25"),
            (12.5, "12.5"),
            (128.0, "128"),
            (2048.0, "2048"),
            (65_000.0, "65k"),
            (2e6, "2M"),
            (0.002, "0.002"),
        ] {
            assert_eq!(short(value), text);
        }
    }
}
