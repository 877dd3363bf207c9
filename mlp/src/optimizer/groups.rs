//! Parameters that are trained in a way of their own: which they are, and how.
//!
//! A group is chosen by kind or by name. Of the groups that a parameter belongs to, the last decides.

use std::ops::Range;

use super::check_not_negative;
use crate::error::MlpError;
use crate::params::{Layout, Parameter, ParameterKind};

/// Some of the parameters of a network, and how their training differs from that of the others.
///
/// Weight decay, L2 or decoupled, leaves biases and the scales of normalisations alone unless a
/// group says otherwise; PyTorch's optimisers decay everything.
///
/// ```
/// use mlp::{ParamGroup, ParameterKind, Sgd, TrainConfig};
/// let config = TrainConfig::default()
///     .optimizer(Sgd::new(0.1).weight_decay(1e-4))
///     // Biases decay too, and the first layer stays as it is.
///     .group(ParamGroup::kind(ParameterKind::Bias).weight_decay_factor(1.0))
///     .group(ParamGroup::named("0").learning_rate_factor(0.0).weight_decay_factor(0.0));
/// ```
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub struct ParamGroup {
    choice: Choice,
    learning_rate: Option<f32>,
    weight_decay: Option<f32>,
}

#[derive(Clone, Debug, PartialEq)]
enum Choice {
    All,
    Kind(ParameterKind),
    Name(String),
}

impl ParamGroup {
    fn new(choice: Choice) -> Self {
        Self {
            choice,
            learning_rate: None,
            weight_decay: None,
        }
    }

    /// All parameters.
    pub fn all() -> Self {
        Self::new(Choice::All)
    }

    /// The parameters of a kind.
    pub fn kind(kind: ParameterKind) -> Self {
        Self::new(Choice::Kind(kind))
    }

    /// The parameter of this name, or all whose names go on with a dot after it: "0.weight" is the
    /// weight of layer 0, "0" all of its parameters. Layers are counted as in the description,
    /// activations too, as in PyTorch's `Sequential`.
    pub fn named(name: impl Into<String>) -> Self {
        Self::new(Choice::Name(name.into()))
    }

    /// Factor on the learning rate of these parameters: finite, at least 0; 1 unless said otherwise.
    /// With 0 the parameters stay as they are.
    pub fn learning_rate_factor(mut self, factor: f32) -> Self {
        self.learning_rate = Some(factor);
        self
    }

    /// Factor on the weight decay of the optimiser, L2 or decoupled: finite, at least 0. Unless said
    /// otherwise 1 for weights, 0 for biases and the scales of normalisations.
    pub fn weight_decay_factor(mut self, factor: f32) -> Self {
        self.weight_decay = Some(factor);
        self
    }

    fn check(&self) -> Result<(), MlpError> {
        check_not_negative("learning_rate_factor", self.learning_rate.unwrap_or(1.0))?;
        check_not_negative("weight_decay_factor", self.weight_decay.unwrap_or(1.0))
    }

    fn holds(&self, parameter: &Parameter) -> bool {
        match &self.choice {
            Choice::All => true,
            Choice::Kind(kind) => parameter.kind == *kind,
            Choice::Name(name) => parameter
                .name
                .strip_prefix(name.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.')),
        }
    }
}

/// The factors on the settings of the optimiser for a range of the parameters.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Factors {
    pub(crate) range: Range<usize>,
    pub(crate) learning_rate: f32,
    pub(crate) weight_decay: f32,
}

/// The factors for all parameters: ranges in order, without gaps, neighbours of one kind as one.
pub(crate) fn resolve(layout: &Layout, groups: &[ParamGroup]) -> Result<Vec<Factors>, MlpError> {
    for group in groups {
        group.check()?;
        if !layout.iter().any(|parameter| group.holds(parameter)) {
            return Err(MlpError::Setting {
                name: "group",
                expected: "parameters that the network has",
                got: format!("{:?}", group.choice),
            });
        }
    }
    let mut all: Vec<Factors> = Vec::new();
    for parameter in layout.iter() {
        let mut factors = Factors {
            range: parameter.range(),
            learning_rate: 1.0,
            weight_decay: match parameter.kind {
                ParameterKind::Weight => 1.0,
                ParameterKind::Bias | ParameterKind::Norm => 0.0,
            },
        };
        for group in groups.iter().filter(|group| group.holds(parameter)) {
            factors.learning_rate = group.learning_rate.unwrap_or(factors.learning_rate);
            factors.weight_decay = group.weight_decay.unwrap_or(factors.weight_decay);
        }
        match all.last_mut() {
            Some(last)
                if (last.learning_rate, last.weight_decay)
                    == (factors.learning_rate, factors.weight_decay) =>
            {
                last.range.end = factors.range.end;
            }
            _ => all.push(factors),
        }
    }
    Ok(all)
}

/// The factors that stand at `index`, and those after them.
pub(super) fn from(all: &[Factors], index: usize) -> &[Factors] {
    &all[all.partition_point(|factors| factors.range.end <= index)..]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params::Initial;

    fn layout() -> Layout {
        let mut layout = Layout::default();
        let zeros = Initial::Constant(0.0);
        for (layer, width) in [(0, 3), (1, 3), (10, 2)] {
            let kind = match layer {
                1 => ParameterKind::Norm,
                _ => ParameterKind::Weight,
            };
            layout.add(format!("{layer}.weight"), kind, 1, width, zeros);
            layout.add(format!("{layer}.bias"), ParameterKind::Bias, 1, 1, zeros);
        }
        layout
    }

    /// (end, learning rate, weight decay) of each range.
    fn resolved(groups: &[ParamGroup]) -> Vec<(usize, f32, f32)> {
        let all = resolve(&layout(), groups).expect("good groups");
        let mut start = 0;
        for factors in &all {
            assert_eq!(factors.range.start, start);
            start = factors.range.end;
        }
        let ends = all.into_iter();
        ends.map(|f| (f.range.end, f.learning_rate, f.weight_decay))
            .collect()
    }

    #[test]
    fn biases_and_norms_do_not_decay_unless_a_group_says_so() {
        // Bias, norm and bias are neighbours.
        let expected = [(3, 1.0, 1.0), (8, 1.0, 0.0), (10, 1.0, 1.0), (11, 1.0, 0.0)];
        assert_eq!(resolved(&[]), expected);
        let all = ParamGroup::all().weight_decay_factor(1.0);
        assert_eq!(resolved(&[all]), [(11, 1.0, 1.0)]);
    }

    #[test]
    fn the_last_group_decides_and_names_end_at_dots() {
        let groups = [
            ParamGroup::all()
                .weight_decay_factor(0.5)
                .learning_rate_factor(2.0),
            ParamGroup::named("1").learning_rate_factor(0.0),
            ParamGroup::kind(ParameterKind::Norm).weight_decay_factor(0.0),
        ];
        assert_eq!(
            resolved(&groups),
            [(4, 2.0, 0.5), (7, 0.0, 0.0), (8, 0.0, 0.5), (11, 2.0, 0.5)]
        );
    }

    #[test]
    fn says_what_no_parameter_is_called_and_which_factor_is_none() {
        let refused = |group| resolve(&layout(), &[group]).unwrap_err().to_string();
        assert_eq!(
            refused(ParamGroup::named("0.wei")),
            "group: expected parameters that the network has, got Name(\"0.wei\")"
        );
        assert_eq!(
            refused(ParamGroup::all().learning_rate_factor(-1.0)),
            "learning_rate_factor: expected a finite number of at least 0, got -1"
        );
        assert_eq!(
            refused(ParamGroup::all().weight_decay_factor(f32::NAN)),
            "weight_decay_factor: expected a finite number of at least 0, got NaN"
        );
    }

    #[test]
    fn what_stands_at_an_index_is_found() {
        let all = resolve(&layout(), &[]).expect("no groups");
        for (index, start) in [(0, 0), (2, 0), (3, 3), (7, 3), (8, 8), (10, 10)] {
            assert_eq!(from(&all, index)[0].range.start, start);
        }
        assert!(from(&all, 11).is_empty());
    }
}
