//! Collects the description of a network, layer by layer.

mod sequences;

use kernels::{Activation, Isa, Precision};

use crate::error::MlpError;
use crate::init::Init;
use crate::loss::Loss;
use crate::spec::{LayerSpec, MAX_NESTING, Shortcut, Spec, check_nesting};

/// Added to variances, as PyTorch does.
const NORM_EPS: f32 = 1e-5;

/// Weight of the newest batch in running statistics, as in PyTorch.
const BATCH_NORM_MOMENTUM: f32 = 0.1;

/// Collects layers: those of a network ([`MlpBuilder`]), or those of a block inside one
/// ([`BlockBuilder`]).
#[derive(Clone, Debug, Default)]
#[must_use = "a builder does nothing until build() is called"]
pub struct Builder<S> {
    pub(crate) layers: Vec<LayerSpec>,
    /// How many blocks stand inside each other at the deepest place.
    nesting: usize,
    pub(crate) settings: S,
}

/// Collects the description of a network; [`build`](MlpBuilder::build) checks it and makes it.
///
/// Made by [`Mlp::builder`](crate::Mlp::builder).
///
/// ```
/// use mlp::{Mlp, MlpBuilder};
/// // As many layers as asked for.
/// fn deep(layers: usize) -> MlpBuilder {
///     (0..layers).fold(Mlp::builder(8), |net, _| net.dense(16).relu()).dense(3)
/// }
/// assert_eq!(deep(5).build()?.dense_layers(), 6);
/// # Ok::<(), mlp::MlpError>(())
/// ```
pub type MlpBuilder = Builder<Settings>;

/// Collects the layers of a block, see [`Builder::residual`].
///
/// ```
/// use mlp::{BlockBuilder, Mlp};
/// fn two_layers(block: BlockBuilder) -> BlockBuilder {
///     block.relu().dense(16).relu().dense(16)
/// }
/// let net = Mlp::builder(8).dense(16).residual(two_layers).residual(two_layers).dense(3).build()?;
/// # Ok::<(), mlp::MlpError>(())
/// ```
pub type BlockBuilder = Builder<()>;

/// What is said of a network beside its layers.
#[derive(Clone, Debug)]
pub struct Settings {
    inputs: usize,
    loss: Loss,
    init: Option<Init>,
    seed: u64,
    precision: Option<Precision>,
    isa: Option<Isa>,
}

/// The layers. Positions, in messages and in the names of parameters, count every layer of a list.
impl<S> Builder<S> {
    pub(crate) fn layer(mut self, layer: LayerSpec) -> Self {
        self.layers.push(layer);
        self
    }

    /// Adds a layer that is made of a block. Of one that is nested too deep the depth alone is kept, which
    /// [`build`](MlpBuilder::build) refuses: nothing here recurses further than it allows.
    fn nest(
        self,
        block: impl FnOnce(BlockBuilder) -> BlockBuilder,
        layer: impl FnOnce(Vec<LayerSpec>) -> LayerSpec,
    ) -> Self {
        let block = block(BlockBuilder::default());
        let nesting = self.nesting.max(block.nesting + 1);
        let layers = match block.nesting {
            MAX_NESTING.. => Vec::new(),
            _ => block.layers,
        };
        let mut built = self.layer(layer(layers));
        built.nesting = nesting;
        built
    }

    /// Adds `y = x W^T + b` with `width` outputs.
    ///
    /// ```
    /// use mlp::Mlp;
    /// let net = Mlp::builder(4).dense(8).relu().dense(3).build()?;
    /// assert_eq!(net.weights(0).map(|w| (w.rows(), w.cols())), Some((8, 4)));
    /// assert_eq!(net.bias(1), Some(&[0.0; 3][..]));
    /// # Ok::<(), mlp::MlpError>(())
    /// ```
    ///
    /// # Shapes
    /// x: rows x fan_in; W: width x fan_in; b: width; y: rows x width
    ///
    /// # Complexity
    /// `2 rows fan_in width` flop forward; backward twice as many, or as many for the first layer, whose
    /// inputs have no gradient.
    pub fn dense(self, width: usize) -> Self {
        self.layer(LayerSpec::Dense { width })
    }

    /// Adds `y = act(x)`; each activation has a method of its own, too.
    ///
    /// ```
    /// use mlp::{Activation, Matrix, Mlp};
    ///
    /// let net = Mlp::builder(4)
    ///     .dense(8).sigmoid()
    ///     .dense(8).tanh()
    ///     .dense(8).relu()
    ///     .dense(8).leaky_relu(0.2)
    ///     .dense(8).activation(Activation::leaky_relu())
    ///     .dense(8).elu(1.0)
    ///     .dense(8).softplus()
    ///     .dense(8).gelu()
    ///     .dense(8).gelu_tanh()
    ///     .dense(8).activation(Activation::Silu)
    ///     .dense(3).identity()
    ///     .build()?;
    /// assert_eq!(net.forward(&Matrix::zeros(2, 4))?.cols(), 3);
    /// # Ok::<(), mlp::MlpError>(())
    /// ```
    ///
    /// # Shapes
    /// x, y: rows x width
    ///
    /// # Complexity
    /// One function of each element; none of its own behind a dense layer, whose product takes it along.
    pub fn activation(self, activation: Activation) -> Self {
        self.layer(LayerSpec::Activation(activation))
    }

    /// Adds `y = x`, which says of a layer that nothing follows it, and computes nothing.
    ///
    /// ```
    /// use mlp::{Loss, Mlp};
    /// // The output layer of a regression.
    /// let net = Mlp::builder(4).dense(8).tanh().dense(1).identity().loss(Loss::MeanSquaredError).build()?;
    /// # Ok::<(), mlp::MlpError>(())
    /// ```
    pub fn identity(self) -> Self {
        self.activation(Activation::Identity)
    }

    /// Adds `y = max(x, 0)`.
    pub fn relu(self) -> Self {
        self.activation(Activation::Relu)
    }

    /// Adds `y = x` where x > 0, `negative_slope * x` elsewhere; the slope is finite, at least 0.
    /// [`Activation::leaky_relu`] has the usual one, 0.01.
    pub fn leaky_relu(self, negative_slope: f32) -> Self {
        self.activation(Activation::LeakyRelu { negative_slope })
    }

    /// Adds `y = 1 / (1 + e^-x)`.
    pub fn sigmoid(self) -> Self {
        self.activation(Activation::Sigmoid)
    }

    /// Adds `y = tanh x`.
    pub fn tanh(self) -> Self {
        self.activation(Activation::Tanh)
    }

    /// Adds `y = x P(x)` with `P(x) = (1 + erf(x / sqrt 2)) / 2`, the exact form.
    pub fn gelu(self) -> Self {
        self.activation(Activation::Gelu)
    }

    /// Adds `y = x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2`, within 5e-4 of
    /// [`gelu`](Self::gelu).
    pub fn gelu_tanh(self) -> Self {
        self.activation(Activation::GeluTanh)
    }

    /// Adds `y = x / (1 + e^-x)`.
    pub fn silu(self) -> Self {
        self.activation(Activation::Silu)
    }

    /// Adds `y = x` where x > 0, `alpha (e^x - 1)` elsewhere; alpha is finite, at least 0.
    pub fn elu(self, alpha: f32) -> Self {
        self.activation(Activation::Elu { alpha })
    }

    /// Adds `y = ln(1 + e^x)`.
    pub fn softplus(self) -> Self {
        self.activation(Activation::Softplus)
    }

    /// Adds softmax, row by row: `y_j = e^(x_j) / sum_k e^(x_k)`. Its gradient is the product with the whole
    /// Jacobian, `dx_j = y_j (dy_j - sum_k dy_k y_k)`.
    ///
    /// At the end of a network it makes the outputs probabilities, which any loss may be taken of. Of
    /// [`Loss::SoftmaxCrossEntropy`] it is the softmax itself: it is not taken twice, and the loss, its
    /// gradient and the classes predicted come from what the softmax reads, so that a probability may
    /// round to 0. [`Builder::sigmoid`] and [`Loss::BinaryCrossEntropy`] go together in the same way.
    ///
    /// ```
    /// use mlp::{Loss, Mlp};
    ///
    /// // The same training as without softmax; `forward` gives probabilities.
    /// let net = Mlp::builder(4).dense(16).tanh().dense(3).softmax().build()?;
    /// let p = net.forward(&mlp::Matrix::zeros(1, 4))?;
    /// assert!((p.row(0).iter().sum::<f32>() - 1.0).abs() < 1e-6);
    /// // Brier's score: the squared error of probabilities.
    /// let net = Mlp::builder(4).dense(3).softmax().loss(Loss::MeanSquaredError).build()?;
    /// # Ok::<(), mlp::MlpError>(())
    /// ```
    ///
    /// # Shapes
    /// x, y: rows x width
    ///
    /// # Complexity
    /// Four operations for each element, forward and backward, one of them an exponential.
    pub fn softmax(self) -> Self {
        self.layer(LayerSpec::Softmax)
    }

    /// Adds batch normalisation with PyTorch's settings (eps 1e-5, momentum 0.1):
    /// `y = gamma (x - mean) / sqrt(var + eps) + beta`, column by column.
    ///
    /// Training takes mean and (biased) variance of each batch, which needs at least 2 rows, and
    /// averages them, with the unbiased variance, for prediction:
    /// `running <- (1 - momentum) running + momentum of_the_batch`.
    ///
    /// ```
    /// use mlp::Mlp;
    /// let net = Mlp::builder(4).dense(16).batch_norm().relu().dense(3).build()?;
    /// # Ok::<(), mlp::MlpError>(())
    /// ```
    ///
    /// # Shapes
    /// x, y: rows x width; gamma, beta, mean, var: width
    ///
    /// # Complexity
    /// 7 operations for each element forward, 3 in prediction, 10 backward.
    pub fn batch_norm(self) -> Self {
        self.batch_norm_with(NORM_EPS, BATCH_NORM_MOMENTUM)
    }

    /// Adds batch normalisation with settings of one's own; otherwise as [`Builder::batch_norm`].
    ///
    /// `eps` is finite and above 0; `momentum`, the weight of the newest batch in the running statistics, at
    /// least 0 and at most 1.
    ///
    /// ```
    /// use mlp::Mlp;
    /// let net = Mlp::builder(4).dense(16).batch_norm_with(1e-3, 0.01).relu().dense(3).build()?;
    /// # Ok::<(), mlp::MlpError>(())
    /// ```
    pub fn batch_norm_with(self, eps: f32, momentum: f32) -> Self {
        self.layer(LayerSpec::BatchNorm { eps, momentum })
    }

    /// Adds layer normalisation with PyTorch's eps of 1e-5:
    /// `y = gamma (x - mean) / sqrt(var + eps) + beta`, row by row; the same in training and
    /// prediction.
    ///
    /// ```
    /// use mlp::Mlp;
    /// let net = Mlp::builder(4).dense(16).layer_norm().relu().dense(3).build()?;
    /// # Ok::<(), mlp::MlpError>(())
    /// ```
    ///
    /// # Shapes
    /// x, y: rows x width; gamma, beta: width; mean, var: one for each row
    ///
    /// # Complexity
    /// 7 operations for each element forward, 10 backward.
    pub fn layer_norm(self) -> Self {
        self.layer_norm_with(NORM_EPS)
    }

    /// Adds layer normalisation with an eps of one's own, finite and above 0; otherwise as
    /// [`Builder::layer_norm`].
    ///
    /// ```
    /// use mlp::Mlp;
    /// let net = Mlp::builder(4).dense(16).layer_norm_with(1e-6).relu().dense(3).build()?;
    /// # Ok::<(), mlp::MlpError>(())
    /// ```
    pub fn layer_norm_with(self, eps: f32) -> Self {
        self.layer(LayerSpec::LayerNorm { eps })
    }

    /// Adds inverted dropout: in training `y = m x / (1 - rate)`, where m is 0 with probability `rate` and
    /// else 1; in prediction `y = x`.
    ///
    /// With the keep probability `p = 1 - rate` of Srivastava et al., 2014, it is `y = m x / p` with
    /// `m ~ Bernoulli(p)`. Which elements are dropped depends on the seed of the network, the number of
    /// updates made and the place of the element, so that a training can be repeated, or resumed, with
    /// the same masks. [`Trainer::forward`](crate::Trainer::forward) is a pass of training.
    ///
    /// ```
    /// use mlp::Mlp;
    ///
    /// let net = Mlp::builder(8).dense(32).relu().dropout(0.5).dense(3).build()?;
    /// assert!(Mlp::builder(8).dense(32).dropout(1.0).dense(3).build().is_err());
    /// # Ok::<(), mlp::MlpError>(())
    /// ```
    ///
    /// # Shapes
    /// x, y: rows x width
    ///
    /// # Complexity
    /// A random number of 32 bits for each element, forward and backward, in training; no mask is stored.
    pub fn dropout(self, rate: f32) -> Self {
        self.layer(LayerSpec::Dropout { rate })
    }

    /// Adds a skip connection: `y = x + s`, where `s` is what the dense layer read that stands `over`
    /// dense layers back in this list.
    ///
    /// Behind a layer `act(W h_(l-1) + b)`, `skip(2)` makes it
    /// `h_l = act(W h_(l-1) + b) + h_(l-2)`. Connections may overlap:
    ///
    /// ```
    /// use mlp::Mlp;
    ///
    /// let mut net = Mlp::builder(2).dense(16).tanh();
    /// for _ in 0..10 {
    ///     net = net.dense(16).tanh().dense(16).tanh().skip(2);
    /// }
    /// let net = net.dense(2).build()?;
    /// # assert_eq!(net.dense_layers(), 22);
    /// # Ok::<(), mlp::MlpError>(())
    /// ```
    ///
    /// [`build`](MlpBuilder::build) refuses it where the widths of x and s differ: see
    /// [`Builder::skip_projected`].
    ///
    /// # Shapes
    /// x, s, y: rows x width
    ///
    /// # Complexity
    /// At most one addition for each element, forward and backward.
    pub fn skip(self, over: usize) -> Self {
        self.layer(LayerSpec::Skip {
            over,
            shortcut: Shortcut::Identity,
        })
    }

    /// Adds a skip connection between widths that may differ: `y = x + s P^T` with a learned
    /// `P: width of x x width of s`; otherwise as [`Builder::skip`].
    ///
    /// ```
    /// use mlp::Mlp;
    /// let net = Mlp::builder(8).dense(16).tanh().dense(32).tanh().skip_projected(1).dense(3).build()?;
    /// // The projection leads from 16 values to 32.
    /// assert_eq!(net.weights(2).map(|w| (w.rows(), w.cols())), Some((32, 16)));
    /// # Ok::<(), mlp::MlpError>(())
    /// ```
    ///
    /// # Shapes
    /// x, y: rows x width of x; s: rows x width of s
    ///
    /// # Complexity
    /// That of a dense layer without bias.
    pub fn skip_projected(self, over: usize) -> Self {
        self.layer(LayerSpec::Skip {
            over,
            shortcut: Shortcut::Projection,
        })
    }

    /// Adds a residual block: `y = block(x) + x`.
    ///
    /// With the activation behind the sum it is the block of He et al., 2015, "Deep residual learning
    /// for image recognition"; with the activations before the weights that of He et al., 2016,
    /// "Identity mappings in deep residual networks":
    ///
    /// ```
    /// use mlp::Mlp;
    ///
    /// let net = Mlp::builder(8)
    ///     .dense(32).relu()
    ///     .residual(|block| block.dense(32).relu().dense(32)).relu()
    ///     .residual(|block| block.relu().dense(32).relu().dense(32))
    ///     .dense(3)
    ///     .build()?;
    /// # assert_eq!(net.dense_layers(), 6);
    /// # Ok::<(), mlp::MlpError>(())
    /// ```
    ///
    /// [`build`](MlpBuilder::build) refuses a block that changes the width: see
    /// [`Builder::residual_projected`]; and blocks inside blocks more than 32 deep.
    ///
    /// # Shapes
    /// x, y, block(x): rows x width
    ///
    /// # Complexity
    /// That of the block, and at most one addition for each element, forward and backward.
    pub fn residual(self, block: impl FnOnce(BlockBuilder) -> BlockBuilder) -> Self {
        let shortcut = Shortcut::Identity;
        self.nest(block, |block| LayerSpec::Residual { block, shortcut })
    }

    /// Adds a residual block that may change the width: `y = block(x) + x P^T` with a learned
    /// `P: width of the block x width of x`.
    ///
    /// ```
    /// use mlp::Mlp;
    /// let net = Mlp::builder(8).residual_projected(|block| block.dense(16).relu().dense(16)).relu();
    /// let net = net.dense(3).build()?;
    /// assert_eq!(net.dense_layers(), 4);
    /// # Ok::<(), mlp::MlpError>(())
    /// ```
    ///
    /// # Shapes
    /// x: rows x width of x; y, block(x): rows x width of the block
    ///
    /// # Complexity
    /// That of the block, and of a dense layer without bias.
    pub fn residual_projected(self, block: impl FnOnce(BlockBuilder) -> BlockBuilder) -> Self {
        let shortcut = Shortcut::Projection;
        self.nest(block, |block| LayerSpec::Residual { block, shortcut })
    }

    /// Adds a dense connection: `y = [x, block(x)]`, the outputs of the block beside its inputs.
    ///
    /// A row of them makes a block in the style of DenseNet (Huang et al., 2016, "Densely connected
    /// convolutional networks"): each layer reads the outputs of all before it. No column is copied.
    ///
    /// ```
    /// use mlp::Mlp;
    ///
    /// let (growth, layers) = (12, 4);
    /// let mut net = Mlp::builder(8).dense(16).relu();
    /// for _ in 0..layers {
    ///     net = net.concat(|block| block.dense(growth).relu());
    /// }
    /// let net = net.dense(3).build()?;
    /// // The last layer reads 16 + 4 * 12 values.
    /// assert_eq!(net.weights(5).map(|w| w.cols()), Some(64));
    /// # Ok::<(), mlp::MlpError>(())
    /// ```
    ///
    /// # Shapes
    /// x: rows x n; block(x): rows x k; y: rows x (n + k)
    ///
    /// # Complexity
    /// That of the block; gradients of x are added to each other, one addition for each element.
    pub fn concat(self, block: impl FnOnce(BlockBuilder) -> BlockBuilder) -> Self {
        self.nest(block, |block| LayerSpec::Concat { block })
    }
}

/// What is said of the network as a whole.
impl Builder<Settings> {
    pub(crate) fn new(inputs: usize) -> Self {
        Self {
            layers: Vec::new(),
            nesting: 0,
            settings: Settings {
                inputs,
                loss: Loss::default(),
                init: None,
                seed: 0,
                precision: None,
                isa: None,
            },
        }
    }

    /// The description, and the instruction set asked for.
    ///
    /// # Errors
    /// [`MlpError::Setting`] if blocks are nested deeper than [`MAX_NESTING`].
    pub(crate) fn into_spec(self) -> Result<(Spec, Option<Isa>), MlpError> {
        check_nesting(self.nesting)?;
        let Settings {
            inputs,
            loss,
            init,
            seed,
            precision,
            isa,
        } = self.settings;
        let spec = Spec {
            inputs,
            layers: self.layers,
            loss,
            init,
            seed,
            precision,
        };
        Ok((spec, isa))
    }

    /// What training makes small; [`Loss::SoftmaxCrossEntropy`] unless said otherwise.
    ///
    /// The loss belongs to the network, not to a training: it decides what
    /// [`predict`](crate::Mlp::predict) and [`evaluate`](crate::Mlp::evaluate) mean.
    ///
    /// ```
    /// use mlp::{Loss, Mlp};
    /// // Values; values with outliers; three questions to be answered with yes or no.
    /// let net = Mlp::builder(4).dense(1).loss(Loss::MeanSquaredError).build()?;
    /// let net = Mlp::builder(4).dense(1).loss(Loss::Huber { delta: 1.0 }).build()?;
    /// let net = Mlp::builder(4).dense(3).loss(Loss::BinaryCrossEntropy).build()?;
    /// # Ok::<(), mlp::MlpError>(())
    /// ```
    pub fn loss(mut self, loss: Loss) -> Self {
        self.settings.loss = loss;
        self
    }

    /// How the weights of all dense layers are drawn.
    ///
    /// Without it each layer follows its activation: He normal before the ReLU family, Xavier
    /// uniform before all else. Biases start at 0.
    ///
    /// ```
    /// use mlp::{Init, Mlp};
    /// let net = Mlp::builder(64).dense(64).tanh().dense(64).init(Init::Orthogonal).build()?;
    /// // Rows are orthogonal, and of length 1.
    /// let w = net.weights(0).expect("a dense layer");
    /// let dot = |i, j| w.row(i).into_iter().flatten().zip(w.row(j).into_iter().flatten()).map(|(a, b)| a * b).sum::<f32>();
    /// assert!((dot(0, 0) - 1.0).abs() < 1e-5 && dot(0, 1).abs() < 1e-5);
    /// # Ok::<(), mlp::MlpError>(())
    /// ```
    pub fn init(mut self, init: Init) -> Self {
        self.settings.init = Some(init);
        self
    }

    /// Seed of the weights, and of the order of the samples in training; 0 unless said otherwise.
    ///
    /// ```
    /// use mlp::Mlp;
    /// let net = |seed| Mlp::builder(4).dense(3).seed(seed).build();
    /// assert_eq!(net(1)?.parameters(), net(1)?.parameters());
    /// assert_ne!(net(1)?.parameters(), net(2)?.parameters());
    /// # Ok::<(), mlp::MlpError>(())
    /// ```
    pub fn seed(mut self, seed: u64) -> Self {
        self.settings.seed = seed;
        self
    }

    /// How exact the products of dense layers have to be, forward and backward; saved with the network.
    ///
    /// Without it, [`Precision::process_wide`]: `Highest`, with errors no larger than those of f32
    /// multiply-adds, unless the program has set another.
    ///
    /// ```
    /// use mlp::{Mlp, Precision};
    /// let net = Mlp::builder(4).dense(3).precision(Precision::Ieee).build()?;
    /// assert_eq!(net.effective_precision(32)?, Precision::Ieee);
    /// # Ok::<(), mlp::MlpError>(())
    /// ```
    pub fn precision(mut self, precision: Precision) -> Self {
        self.settings.precision = Some(precision);
        self
    }

    /// Insists on the kernels of one instruction set, instead of the best that the CPU and
    /// `KERNELS_ISA` allow.
    ///
    /// ```
    /// use mlp::{Isa, Mlp};
    /// let net = Mlp::builder(4).dense(3).isa(Isa::Scalar).build()?;
    /// assert_eq!(net.isa(), Isa::Scalar);
    /// # Ok::<(), mlp::MlpError>(())
    /// ```
    pub fn isa(mut self, isa: Isa) -> Self {
        self.settings.isa = Some(isa);
        self
    }
}
