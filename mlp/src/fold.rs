//! Batch normalisation as part of the weights in front of it.

use kernels::Isa;

use crate::error::MlpError;
use crate::model::Mlp;
use crate::network::Network;
use crate::params::Parameter;
use crate::spec::{LayerSpec, Spec};

/// A batch normalisation that goes into a dense layer.
struct Fold {
    /// Name of the dense layer in the new network.
    dense: String,
    /// Name of the normalisation in the old one.
    norm: String,
    eps: f32,
}

/// What becomes of a list of layers.
#[derive(Default)]
struct Folding {
    /// New name and old name of every layer that stays.
    names: Vec<(String, String)>,
    folds: Vec<Fold>,
}

impl Folding {
    /// The layers that stay, of a list whose names begin with `new` now and began with `old`.
    fn list(&mut self, layers: &[LayerSpec], new: &str, old: &str) -> Vec<LayerSpec> {
        let mut kept: Vec<LayerSpec> = Vec::new();
        let mut before: Option<&LayerSpec> = None;
        for (position, layer) in layers.iter().enumerate() {
            let old = format!("{old}{position}");
            let dense = matches!(before, Some(LayerSpec::Dense { .. }));
            before = Some(layer);
            if let (LayerSpec::BatchNorm { eps, .. }, true) = (layer, dense) {
                self.folds.push(Fold {
                    dense: format!("{new}{}", kept.len() - 1),
                    norm: old,
                    eps: *eps,
                });
                continue;
            }
            let new = format!("{new}{}", kept.len());
            let (inside_new, inside_old) = (format!("{new}."), format!("{old}."));
            kept.push(match layer {
                LayerSpec::Residual { block, shortcut } => LayerSpec::Residual {
                    block: self.list(block, &inside_new, &inside_old),
                    shortcut: *shortcut,
                },
                LayerSpec::Concat { block } => LayerSpec::Concat {
                    block: self.list(block, &inside_new, &inside_old),
                },
                layer => layer.clone(),
            });
            self.names.push((new, old));
        }
        kept
    }

    /// The old name of a parameter: the longest layer name that it begins with is exchanged.
    fn old_name(&self, parameter: &str) -> String {
        let behind = |name: &str| parameter.strip_prefix(name)?.strip_prefix('.');
        let found = self
            .names
            .iter()
            .filter_map(|(new, old)| Some((new.len(), old, behind(new)?)))
            .max_by_key(|(len, ..)| *len);
        found.map_or_else(String::new, |(_, old, rest)| format!("{old}.{rest}"))
    }
}

impl Mlp {
    /// The same predictions without the batch normalisations that stand directly behind a dense
    /// layer: with `g = gamma / sqrt(running_var + eps)` the layer becomes
    /// `W' = diag(g) W`, `b' = g (b - running_mean) + beta`.
    ///
    /// For prediction: it is faster, and equal up to rounding; training would go another way. What
    /// stands behind anything else is kept. The state of a training is not taken along.
    ///
    /// # Complexity
    /// The parameters are read and written once.
    ///
    /// # Errors
    /// [`MlpError::Parameter`] if a weight becomes infinite, as it does where a variance is 0 and
    /// gamma enormous.
    ///
    /// ```
    /// use mlp::Mlp;
    /// let net = Mlp::builder(4).dense(16).batch_norm().relu().dense(3).build()?;
    /// let folded = net.fold_batch_norm()?;
    /// assert_eq!(folded.spec().layers.len(), 3);
    /// # Ok::<(), mlp::MlpError>(())
    /// ```
    pub fn fold_batch_norm(&self) -> Result<Self, MlpError> {
        let old = &self.network;
        let mut folding = Folding::default();
        let spec = Spec {
            layers: folding.list(&old.spec.layers, "", ""),
            ..old.spec.clone()
        };
        let isa: Isa = old.kernels.isa();
        let mut new = Network::of(spec, Some(isa))?;
        let old_values = |name: &str| -> &[f32] {
            let found = matrices(old).find(|parameter| parameter.name == name);
            found.map_or(&[], |parameter| &old.parameters[parameter.range()])
        };
        for parameter in matrices(&new).collect::<Vec<_>>() {
            let values = old_values(&folding.old_name(&parameter.name));
            new.parameters[parameter.range()].copy_from_slice(values);
        }
        for fold in &folding.folds {
            let of_norm = |what: &str| old_values(&format!("{}.{what}", fold.norm));
            let (gamma, beta) = (of_norm("weight"), of_norm("bias"));
            let (mean, var) = (of_norm("running_mean"), of_norm("running_var"));
            let find = |what: &str| {
                let name = format!("{}.{what}", fold.dense);
                matrices(&new).find(|parameter| parameter.name == name)
            };
            let (Some(weight), Some(bias)) = (find("weight"), find("bias")) else {
                continue;
            };
            for j in 0..gamma.len() {
                let spread = (f64::from(var[j]) + f64::from(fold.eps)).sqrt();
                let g = f64::from(gamma[j]) / spread;
                let row = weight.range().start + j * weight.cols;
                for w in &mut new.parameters[row..row + weight.cols] {
                    *w = (g * f64::from(*w)) as f32;
                }
                let b = &mut new.parameters[bias.range().start + j];
                *b = (g * (f64::from(*b) - f64::from(mean[j])) + f64::from(beta[j])) as f32;
            }
        }
        if let Some(index) = new.parameters.iter().position(|w| !w.is_finite()) {
            let value = new.parameters[index];
            return Err(MlpError::Parameter { index, value });
        }
        Ok(Self::from_network(new))
    }
}

/// All parameters and buffers of a network.
fn matrices(network: &Network) -> impl Iterator<Item = Parameter> {
    let layout = network.graph.parameters();
    layout.iter().cloned().chain(layout.buffers())
}
