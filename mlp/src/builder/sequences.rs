//! The layers of sequences: samples in rows, attention over them.

use super::Builder;
use crate::spec::{LayerSpec, TransformerBlock};

/// The layers of sequences.
impl<S> Builder<S> {
    /// Divides the values of each sample into `rows` rows, one after the other: a sequence. The layers
    /// behind it act on each row alone, with the same parameters; `rows(1)` makes a sample whole again,
    /// which the end of a network needs.
    ///
    /// ```
    /// use mlp::Mlp;
    ///
    /// // Four steps of three features each: every step goes through the same dense layer.
    /// let net = Mlp::builder(4 * 3).rows(4).dense(8).relu().rows(1).dense(2).build()?;
    /// assert_eq!(net.weights(0).map(|w| (w.rows(), w.cols())), Some((8, 3)));
    /// assert_eq!(net.weights(1).map(|w| (w.rows(), w.cols())), Some((2, 32)));
    /// # Ok::<(), mlp::MlpError>(())
    /// ```
    ///
    /// [`build`](crate::MlpBuilder::build) refuses a number that does not divide that of the values.
    ///
    /// # Shapes
    /// x: batch x (rows width) or its rows; y: (batch rows) x width
    ///
    /// # Complexity
    /// None: the same values in other rows.
    pub fn rows(self, rows: usize) -> Self {
        self.layer(LayerSpec::Rows { rows })
    }

    /// Says what the samples are filled up with at their end, so that sequences of different lengths can
    /// stand in one batch: a sample ends before the last rows whose values are all `value`, a finite
    /// number. No attention of the network sees those rows, in training and prediction alike, so that
    /// the rows of the sequence itself give what they would give without them. A sequence of no rows
    /// has an attention of 0.
    ///
    /// Stands at the beginning of a network, before [`Builder::rows`] or [`Builder::embedding`], whose rows
    /// it means: of an embedding `value` is a symbol.
    ///
    /// ```
    /// use mlp::{MatRef, Mlp};
    ///
    /// // Symbols 1 to 9; sequences of up to 6, filled up with 0.
    /// let net = Mlp::builder(6).padding(0.0).embedding(10, 8).attention(2).rows(1).dense(6 * 2);
    /// let net = net.build()?;
    /// let batch = [5., 3., 8., 8., 1., 4., /* */ 2., 7., 0., 0., 0., 0.];
    /// let y = net.forward(MatRef::from_row_major(&batch, 2, 6)?)?;
    /// # assert_eq!(y.rows(), 2);
    /// # Ok::<(), mlp::MlpError>(())
    /// ```
    ///
    /// # Shapes
    /// x: batch x (rows width), as it is
    ///
    /// # Complexity
    /// A look at the values of each sample from its end, up to the first that is no padding, for each attention.
    pub fn padding(self, value: f32) -> Self {
        self.layer(LayerSpec::Padding { value })
    }

    /// Adds an embedding, at the beginning of a network: the values of a sample are the numbers of
    /// symbols, whole numbers from 0 on and below `symbols`; each becomes a row of a table of
    /// `symbols x width`, plus one of a table of places. Both are learned.
    ///
    /// ```
    /// use mlp::{MatRef, Mlp};
    /// // Two sequences of three out of ten symbols.
    /// let net = Mlp::builder(3).embedding(10, 4).rows(1).dense(2).build()?;
    /// let x = [0., 9., 4., 4., 4., 1.];
    /// assert_eq!(net.forward(MatRef::from_row_major(&x, 2, 3)?)?.rows(), 2);
    /// // Ten is none of them.
    /// assert!(net.forward(MatRef::from_row_major(&[0., 10., 4.], 1, 3)?).is_err());
    /// # Ok::<(), mlp::MlpError>(())
    /// ```
    ///
    /// # Shapes
    /// x: batch x T; table: symbols x width; positions: T x width; y: (batch T) x width
    ///
    /// # Complexity
    /// An addition for each element of y forward, two backward.
    pub fn embedding(self, symbols: usize, width: usize) -> Self {
        self.layer(LayerSpec::Embedding { symbols, width })
    }

    /// Adds multi-head self-attention over the rows of a sample, with weights before and behind:
    /// `softmax(Q K^T / sqrt(d)) V` for each head of `d = width / heads` columns.
    ///
    /// [`build`](crate::MlpBuilder::build) refuses heads that do not divide the width.
    ///
    /// ```
    /// use mlp::Mlp;
    /// let net = Mlp::builder(6 * 8).rows(6).attention(2).rows(1).dense(3).build()?;
    /// # Ok::<(), mlp::MlpError>(())
    /// ```
    ///
    /// # Shapes
    /// x, y: (batch T) x width; weights: 3 width x width and width x width; biases: 3 width and width
    ///
    /// # Complexity
    /// That of dense layers from width to 3 width and from width to width, and for each sample `4 T^2 width` flop
    /// forward and `10 T^2 width` backward.
    pub fn attention(self, heads: usize) -> Self {
        let causal = false;
        self.layer(LayerSpec::Attention { heads, causal })
    }

    /// Adds attention that hides from each row the rows behind it; otherwise as
    /// [`Builder::attention`].
    ///
    /// ```
    /// use mlp::Mlp;
    /// // A value for each step that depends on it and on those before it.
    /// let net = Mlp::builder(6 * 8).rows(6).causal_attention(2).dense(1).rows(1);
    /// let net = net.loss(mlp::Loss::MeanSquaredError).build()?;
    /// assert_eq!(net.outputs(), 6);
    /// # Ok::<(), mlp::MlpError>(())
    /// ```
    ///
    /// # Complexity
    /// That of [`Builder::attention`], with `T (T + 1) / 2` in the place of `T^2`.
    pub fn causal_attention(self, heads: usize) -> Self {
        let causal = true;
        self.layer(LayerSpec::Attention { heads, causal })
    }

    /// Adds a block of a Transformer encoder over the rows of a sample, normalised before:
    /// `z = x + attention(norm(x))`, `y = z + W_2 gelu(W_1 norm(z) + b_1) + b_2` with `hidden` columns
    /// between the two. With dropout, or causal: [`Builder::transformer_block`].
    ///
    /// ```
    /// use mlp::Mlp;
    /// // Sequences of 8 out of 10 symbols.
    /// let net = Mlp::builder(8)
    ///     .embedding(10, 32)
    ///     .transformer(4, 64)
    ///     .layer_norm()
    ///     .rows(1)
    ///     .dense(3)
    ///     .build()?;
    /// # Ok::<(), mlp::MlpError>(())
    /// ```
    ///
    /// # Shapes
    /// x, y, z: (batch T) x width; W_1: hidden x width; W_2: width x hidden
    ///
    /// # Complexity
    /// That of [`Builder::attention`], of two dense layers and of two [`Builder::layer_norm`].
    pub fn transformer(self, heads: usize, hidden: usize) -> Self {
        self.transformer_block(TransformerBlock::new(heads, hidden))
    }

    /// Adds a block of a Transformer whose rows do not see the rows behind them; otherwise as
    /// [`Builder::transformer`].
    ///
    /// ```
    /// use mlp::Mlp;
    /// // The next of ten symbols, after each of eight.
    /// let net = Mlp::builder(8).embedding(10, 32).causal_transformer(4, 64).dense(10).rows(1).build()?;
    /// assert_eq!(net.outputs(), 8 * 10);
    /// # Ok::<(), mlp::MlpError>(())
    /// ```
    pub fn causal_transformer(self, heads: usize, hidden: usize) -> Self {
        self.transformer_block(TransformerBlock::new(heads, hidden).causal())
    }

    /// Adds a block of a Transformer encoder with dropout (`drop`) in the places that PyTorch's
    /// `TransformerEncoderLayer` has it with `norm_first`, that on the weights of the attention left out:
    ///
    /// ```text
    /// z = x + drop(attention(norm(x)))
    /// y = z + drop(W_2 drop(gelu(W_1 norm(z) + b_1)) + b_2)
    /// ```
    ///
    /// ```
    /// use mlp::{Mlp, TransformerBlock};
    /// let block = TransformerBlock::new(4, 64).dropout(0.1);
    /// let net = Mlp::builder(8).embedding(10, 32).transformer_block(block).rows(1).dense(3).build()?;
    /// # Ok::<(), mlp::MlpError>(())
    /// ```
    pub fn transformer_block(self, block: TransformerBlock) -> Self {
        self.layer(LayerSpec::Transformer {
            heads: block.heads,
            hidden: block.hidden,
            causal: block.causal,
            dropout: block.dropout,
        })
    }
}
