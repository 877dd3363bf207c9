//! The general output layer: every loss behind every activation, softmax among them.

use kernels::Isa;
use mlp::{LossBatch, MatRef, Mlp, Sgd, Targets, Team, with_team};
use tests::activation::Activation;
use tests::cases::check_each;
use tests::loss::Pointwise;
use tests::matrix::Matrix;
use tests::network::Loss;
use tests::network::graph::{Block, GraphNet};
use tests::values::Values;

use crate::draw::{KINK, LOSSES, add};
use crate::nets::{compare, isas, narrow, norm, to_loss};

const INPUTS: usize = 4;
const OUTPUTS: usize = 3;
const BATCH: usize = 6;

/// What stands at the end of a network, its loss, and a batch.
#[derive(Clone, Debug)]
struct Case {
    end: Block,
    loss: Loss,
    x: Matrix,
    targets: Matrix,
    seed: u64,
}

impl Case {
    fn all() -> Vec<Self> {
        let ends = Activation::ALL.map(Block::Act).into_iter();
        let ends: Vec<Block> = ends.chain([Block::Softmax]).collect();
        let each = ends.iter().flat_map(|end| LOSSES.map(|loss| (end, loss)));
        // Which would take its probabilities for logits, and is refused.
        let refused = |end: &Block, loss| {
            matches!(end, Block::Softmax) && loss == Loss::Mean(Pointwise::Binary)
        };
        let built = each.filter(|&(end, loss)| !refused(end, loss));
        built.map(|(end, loss)| Self::new(end, loss)).collect()
    }

    fn new(end: &Block, loss: Loss) -> Self {
        for seed in 0..100 {
            let mut values = Values::new(seed);
            let case = Self {
                end: end.clone(),
                loss,
                x: values.matrix(BATCH, INPUTS),
                // From 0 to 1, as probabilities are.
                targets: values.matrix(BATCH, OUTPUTS).map(f64::abs),
                seed,
            };
            let gradients = case.reference().gradients(&case.x, &case.targets);
            if gradients.kink_distance > KINK {
                return case;
            }
        }
        panic!("{end:?}, {loss:?}: every draw comes near to a kink");
    }

    /// Whether loss and activation are taken together.
    fn is_shortcut(&self) -> bool {
        let sigmoid = matches!(self.end, Block::Act(Activation::Sigmoid));
        match self.loss {
            Loss::CrossEntropy => matches!(self.end, Block::Softmax),
            Loss::Mean(of) => sigmoid && of == Pointwise::Binary,
        }
    }

    fn blocks(&self) -> Vec<Block> {
        let (hidden, act) = (Block::Dense(7), Block::Act(Activation::Tanh));
        vec![hidden, act, Block::Dense(OUTPUTS), self.end.clone()]
    }

    /// The network in f64 as far as its loss: the loss knows the activation in a shortcut.
    fn reference(&self) -> GraphNet {
        let mut blocks = self.blocks();
        if self.is_shortcut() {
            blocks.pop();
        }
        GraphNet::random(blocks, INPUTS, self.loss, self.seed)
    }

    /// The network in f64 with what stands at its end.
    fn whole(&self) -> GraphNet {
        GraphNet {
            blocks: self.blocks(),
            ..self.reference()
        }
    }

    /// The loss of the whole network as the textbook has it, of probabilities in a shortcut.
    fn textbook_loss(&self, net: &GraphNet) -> f64 {
        if !self.is_shortcut() {
            return net.loss(&self.x, &self.targets);
        }
        let p = net.outputs(&self.x).value;
        let terms = p.data.iter().zip(&self.targets.data);
        match self.loss {
            Loss::CrossEntropy => terms.map(|(p, t)| -t * p.ln()).sum::<f64>() / BATCH as f64,
            Loss::Mean(_) => {
                let term = |(p, t): (&f64, &f64)| -t * p.ln() - (1.0 - t) * (1.0 - p).ln();
                terms.map(term).sum::<f64>() / p.data.len() as f64
            }
        }
    }

    /// The network in f32, with the parameters of the one in f64.
    fn network(&self, isa: Isa, loss: Loss) -> Result<Mlp, String> {
        let builder = Mlp::builder(INPUTS).loss(to_loss(loss)).isa(isa);
        let net = add(builder, &self.blocks()).build();
        let mut net = net.map_err(|e| e.to_string())?;
        let params: Vec<f32> = self.reference().params.iter().flat_map(narrow).collect();
        net.set_parameters(&params).map_err(|e| e.to_string())?;
        Ok(net)
    }

    fn batch(&self) -> (Vec<f32>, Vec<f32>) {
        (narrow(&self.x), narrow(&self.targets))
    }
}

fn matrix(data: &[f32], cols: usize) -> MatRef<'_> {
    MatRef::from_row_major(data, BATCH, cols).expect("whole rows")
}

#[test]
fn the_reference_agrees_with_central_differences_of_the_loss() {
    check_each(Case::all(), |case| {
        let analytic = case.reference().gradients(&case.x, &case.targets).flat();
        let mut probe = case.whole();
        let mut at = 0;
        for p in 0..probe.params.len() {
            for i in 0..probe.params[p].data.len() {
                let old = probe.params[p].data[i];
                let numeric = tests::finite_diff::derivative(old, |value| {
                    probe.params[p].data[i] = value;
                    case.textbook_loss(&probe)
                });
                probe.params[p].data[i] = old;
                if (analytic[at] - numeric).abs() > 1e-6 {
                    let by_formula = analytic[at];
                    return Err(format!(
                        "parameter {at}: {by_formula} by formula, {numeric} by difference"
                    ));
                }
                at += 1;
            }
        }
        Ok(())
    });
}

#[test]
fn losses_and_gradients_agree_with_the_reference() {
    check_each(Case::all(), |case| {
        let reference = case.reference().gradients(&case.x, &case.targets);
        let (expected, bounds) = (reference.flat(), reference.flat_bounds());
        let outputs = case.whole().outputs(&case.x);
        let (x, t) = case.batch();
        let (x, t) = (matrix(&x, INPUTS), matrix(&t, OUTPUTS));
        for isa in isas() {
            let named = |e: String| format!("{isa}: {e}");
            let mut net = case.network(isa, case.loss)?;
            let got = net.forward(x).map_err(|e| e.to_string())?;
            let (exact, bound) = (&outputs.value.data, &outputs.error.data);
            compare("output", got.as_slice(), exact, bound).map_err(named)?;
            let mut trainer = net.trainer(Sgd::new(0.1)).map_err(|e| e.to_string())?;
            let loss = trainer
                .gradients_of(x, Targets::Values(t), &Team::solo())
                .map_err(|e| e.to_string())?;
            let off = (f64::from(loss) - reference.loss).abs();
            if off > 1e-5 * reference.loss {
                return Err(named(format!("loss {loss}, expected {}", reference.loss)));
            }
            let got = trainer.gradients().ok_or("no gradients were kept")?;
            compare("gradient", got, &expected, &bounds).map_err(named)?;
            let off = got.iter().zip(&expected).map(|(&g, e)| f64::from(g) - e);
            let relative = norm(off) / norm(expected.iter().copied());
            if relative.is_nan() || relative > 1e-5 {
                return Err(named(format!("off by {relative:.1e} of the norm")));
            }
            // A fused step comes to the same parameters.
            let (before, rate) = (trainer.network().parameters().to_vec(), 0.1);
            let gradients = got.to_vec();
            with_team(2, |team| trainer.step(x, Targets::Values(t), team))
                .map_err(|e| e.to_string())?;
            for (i, (&now, (w, g))) in net
                .parameters()
                .iter()
                .zip(before.iter().zip(&gradients))
                .enumerate()
            {
                if (now - (w - rate * g)).abs() > 1e-6 {
                    return Err(named(format!("parameter {i} after a step: {now}")));
                }
            }
        }
        Ok(())
    });
}

/// Half the sum of squares, whose gradient is the outputs less the targets.
fn half_squares(batch: LossBatch<'_>) -> f32 {
    let (mut batch, mut sum) = (batch, 0.0);
    let Targets::Values(t) = batch.targets else {
        return f32::NAN;
    };
    for i in 0..batch.outputs.rows() {
        for j in 0..batch.outputs.cols() {
            let d = batch.outputs.at(i, j) - t.at(i, j);
            sum += d * d / 2.0;
            *batch.gradient.at_mut(i, j) = d;
        }
    }
    sum
}

/// A loss of one's own is one of the outputs, also where the loss of the network would go around the
/// activation: between two ordinary steps it is the squared error of probabilities.
#[test]
fn a_loss_of_ones_own_goes_through_the_activation() {
    let squared = Loss::Mean(Pointwise::Squared);
    let shortcuts = Case::all().into_iter().filter(Case::is_shortcut);
    check_each(shortcuts, |case| {
        let (x, t) = case.batch();
        let (x, t) = (matrix(&x, INPUTS), matrix(&t, OUTPUTS));
        let team = Team::solo();
        for isa in isas() {
            let mut plain = case.network(isa, squared)?;
            let mut trainer = plain.trainer(Sgd::new(0.1)).map_err(|e| e.to_string())?;
            trainer
                .gradients_of(x, Targets::Values(t), &team)
                .map_err(|e| e.to_string())?;
            // A mean over all elements of the square is 2 / 18 of half the sum.
            let scale = 2.0 / (BATCH * OUTPUTS) as f64;
            let gradients = trainer.gradients().ok_or("no gradients were kept")?;
            let expected: Vec<f64> = gradients.iter().map(|&g| f64::from(g) / scale).collect();

            let mut net = case.network(isa, case.loss)?;
            let first = net.parameters().to_vec();
            let mut trainer = net.trainer(Sgd::new(1.0)).map_err(|e| e.to_string())?;
            trainer
                .gradients_of(x, Targets::Values(t), &team)
                .map_err(|e| e.to_string())?;
            trainer
                .step_with(x, Targets::Values(t), &team, half_squares)
                .map_err(|e| e.to_string())?;
            for (i, ((w, now), g)) in first
                .iter()
                .zip(trainer.network().parameters())
                .zip(&expected)
                .enumerate()
            {
                if (f64::from(w - now) - g).abs() > 1e-6 {
                    return Err(format!(
                        "{isa}, parameter {i}: moved by {}, not {g}",
                        w - now
                    ));
                }
            }
            // The same by hand, from the outputs of a forward pass.
            net.set_parameters(&first).map_err(|e| e.to_string())?;
            let mut trainer = net.trainer(Sgd::new(1.0)).map_err(|e| e.to_string())?;
            let outputs = trainer.forward(x, &team).map_err(|e| e.to_string())?;
            let d: Vec<f32> = (0..BATCH * OUTPUTS)
                .map(|at| (at / OUTPUTS, at % OUTPUTS))
                .map(|(i, j)| outputs.at(i, j) - t.at(i, j))
                .collect();
            trainer
                .backward(x, matrix(&d, OUTPUTS), &team)
                .map_err(|e| e.to_string())?;
            let got = trainer.gradients().ok_or("no gradients were kept")?;
            for (i, (&g, e)) in got.iter().zip(&expected).enumerate() {
                if (f64::from(g) - e).abs() > 1e-6 {
                    return Err(format!("{isa}, gradient {i}: {g}, expected {e}"));
                }
            }
        }
        Ok(())
    });
}

/// What ends with softmax answers as what does not: classes, probabilities, loss and accuracy; also
/// where the smaller probability has become 0.
#[test]
fn answers_are_those_of_the_logits() {
    for (end, loss) in [
        (Block::Softmax, mlp::Loss::SoftmaxCrossEntropy),
        (
            Block::Act(Activation::Sigmoid),
            mlp::Loss::BinaryCrossEntropy,
        ),
    ] {
        let outputs = match loss {
            mlp::Loss::BinaryCrossEntropy => 1,
            _ => 2,
        };
        let x = [-300.0f32, -1.0, -0.5, 0.25, 2.0, 400.0];
        let x = MatRef::from_row_major(&x, 6, 1).expect("six rows");
        let labels = [0, 0, 1, 1, 1, 0];
        let data = mlp::Data::classes(x, &labels).expect("a label for each row");
        for isa in isas() {
            let net = |ended: bool| {
                let builder = Mlp::builder(1).dense(outputs).loss(loss).isa(isa);
                let blocks = if ended { vec![end.clone()] } else { Vec::new() };
                let mut net = add(builder, &blocks).build().expect("a network");
                let weights: &[f32] = match outputs {
                    1 => &[1.0, 0.0],
                    _ => &[-0.5, 0.5, 0.0, 0.0],
                };
                net.set_parameters(weights).expect("finite");
                net
            };
            let (plain, ended) = (net(false), net(true));
            let same = |what: &str, a: &dyn std::fmt::Debug, b: &dyn std::fmt::Debug| {
                assert_eq!(format!("{a:?}"), format!("{b:?}"), "{what}, {loss}, {isa}");
            };
            same("classes", &plain.predict(x), &ended.predict(x));
            assert_eq!(ended.predict(x).expect("classes"), [0, 0, 0, 1, 1, 1]);
            let p = plain.predict_proba(x);
            same("probabilities", &p, &ended.predict_proba(x));
            same("outputs", &p, &ended.forward(x));
            let evaluation = ended.evaluate(data).expect("data that fit");
            same(
                "evaluation",
                &plain.evaluate(data),
                &Ok::<_, mlp::MlpError>(evaluation),
            );
            assert!(evaluation.loss > 60.0 && evaluation.loss.is_finite());
            assert_eq!(evaluation.accuracy, Some(4.0 / 6.0));
        }
    }
}
