//! A network ready to run: its graph, its parameters, and the kernels for this CPU.

use kernels::{Isa, KernelError, Kernels, MatRef, Precision};

use crate::builder::MlpBuilder;
use crate::error::MlpError;
use crate::graph::{Graph, Op};
use crate::init::{Fan, Init};
use crate::layers::{self, linear::Linear};
use crate::params::{Buffer, Initial, Layout, zeros};
use crate::spec::Spec;

/// What a description becomes when it is built.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    pub(crate) spec: Spec,
    pub(crate) graph: Graph,
    /// The dense layers, from the input on.
    pub(crate) dense: Vec<Linear>,
    pub(crate) kernels: &'static Kernels,
    /// All parameters, in the order of the graph's layout, and behind them the buffers.
    pub(crate) parameters: Buffer,
}

impl Network {
    /// Checks a description and draws the first weights.
    pub(crate) fn build(builder: MlpBuilder) -> Result<Self, MlpError> {
        let (spec, isa) = builder.into_spec()?;
        Self::of(spec, isa)
    }

    /// Names and shapes of the parameters of a description, after a look whether it is a network.
    pub(crate) fn layout(spec: &Spec) -> Result<Layout, MlpError> {
        let (graph, _) = layers::build(spec)?;
        Ok(graph.parameters().clone())
    }

    /// Checks a description and draws the first weights.
    pub(crate) fn of(spec: Spec, isa: Option<Isa>) -> Result<Self, MlpError> {
        let (graph, dense) = layers::build(&spec)?;
        let kernels = match isa {
            Some(isa) => Kernels::for_isa(isa)?,
            None => Kernels::detect()?,
        };
        let layout = graph.parameters();
        let mut parameters = zeros(layout.arena_len().unwrap_or(layout.len()));
        let mut drawn = 0;
        for parameter in layout.iter().cloned().chain(layout.buffers()) {
            let values = &mut parameters[parameter.range()];
            match parameter.initial {
                Initial::Constant(value) => values.fill(value),
                Initial::Drawn { activation } => {
                    let fan = Fan {
                        fan_in: parameter.cols,
                        fan_out: parameter.rows,
                        activation,
                    };
                    let init = spec.init.unwrap_or(Init::for_activation(activation));
                    init.fill(fan, spec.seed, drawn, values)?;
                    drawn += 1;
                }
            }
        }
        Ok(Self {
            spec,
            graph,
            dense,
            kernels,
            parameters,
        })
    }

    /// How exact products have to be.
    pub(crate) fn precision(&self) -> Precision {
        let of_process = Precision::process_wide;
        self.spec.precision.unwrap_or_else(of_process)
    }

    /// Number of outputs.
    pub(crate) fn outputs(&self) -> usize {
        self.graph.node(self.graph.outputs()).shape.width
    }

    /// Number of parameters, which come before the buffers.
    pub(crate) fn parameter_count(&self) -> usize {
        self.graph.parameters().len()
    }

    /// Checks the samples of a step: at least one, two for batch normalisation, with as many features as
    /// the network has inputs.
    pub(crate) fn check_batch(&self, x: MatRef<'_>) -> Result<(), MlpError> {
        if x.rows() == 0 {
            return Err(MlpError::Shape {
                what: "batch",
                expected: "at least 1 row".into(),
                got: "none".into(),
            });
        }
        self.check_variance(x.rows())?;
        self.check_inputs(x)
    }

    /// Checks that a batch of so many samples has a variance, if a layer divides by it.
    pub(crate) fn check_variance(&self, samples: usize) -> Result<(), MlpError> {
        for id in self.graph.forward_nodes() {
            if let Op::BatchNorm { x, norm, .. } = self.graph.node(id).op
                && self.graph.node(x).shape.rows.of(samples) < 2
            {
                let gamma = &self.graph.parameters().get(norm.gamma).name;
                let layer = gamma.trim_end_matches(".weight").to_owned();
                let rows = self.graph.node(x).shape.rows.of(samples);
                return Err(MlpError::BatchTooSmall { layer, rows });
            }
        }
        Ok(())
    }

    /// Checks that samples of a network that embeds symbols are numbers of those it has a row for, which
    /// would else be found by the first call that looks one up.
    pub(crate) fn check_symbols(&self, x: MatRef<'_>) -> Result<(), MlpError> {
        for id in self.graph.forward_nodes() {
            let Op::Embedding { table, .. } = self.graph.node(id).op else {
                continue;
            };
            let symbols = self.graph.parameters().get(table).rows;
            for row in 0..x.rows() {
                for col in 0..x.cols() {
                    let number = *x.at(row, col);
                    if !(number >= 0.0 && number < symbols as f32 && number.fract() == 0.0) {
                        return Err(MlpError::Kernel(KernelError::Number {
                            op: "embedding",
                            row,
                            col,
                            number: number.to_string(),
                            rows: symbols,
                        }));
                    }
                }
            }
        }
        Ok(())
    }

    /// Checks that samples have as many features as the network has inputs.
    pub(crate) fn check_inputs(&self, x: MatRef<'_>) -> Result<(), MlpError> {
        if x.cols() == self.spec.inputs {
            return Ok(());
        }
        Err(MlpError::Shape {
            what: "inputs",
            expected: format!("rows of {} features", self.spec.inputs),
            got: format!("{} x {}", x.rows(), x.cols()),
        })
    }
}
