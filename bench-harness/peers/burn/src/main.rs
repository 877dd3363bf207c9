//! burn with its backend "flex": steps of training and forward passes.

#[path = "../../sampling.rs"]
mod sampling;

use std::hint::black_box;

use burn::module::Module;
use burn::nn::{Linear, LinearConfig, loss::CrossEntropyLossConfig};
use burn::optim::{AdamConfig, GradientsParams, SgdConfig};
use burn::tensor::{Device, Int, Tensor, TensorData, activation};

use sampling::{Case, LEARNING_RATE, check_learning, serve};

#[derive(Debug, Module)]
struct Network {
    layers: Vec<Linear>,
    is_tanh: bool,
}

impl Network {
    fn new(case: &Case, device: &Device) -> Self {
        let widths = case.layers.windows(2);
        Self {
            layers: widths.map(|w| LinearConfig::new(w[0], w[1]).init(device)).collect(),
            is_tanh: case.is_tanh,
        }
    }

    fn forward(&self, mut x: Tensor<2>) -> Tensor<2> {
        for (number, layer) in self.layers.iter().enumerate() {
            x = layer.forward(x);
            if number + 1 < self.layers.len() {
                x = if self.is_tanh { activation::tanh(x) } else { activation::relu(x) };
            }
        }
        x
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    if std::env::args().any(|arg| arg == "--version") {
        println!("0.22.1");
        return Ok(());
    }
    let case = Case::from_args()?;
    let shape = [case.batch, case.inputs()];
    match case.suite.as_str() {
        "train" => {
            let device = Device::flex().autodiff();
            let x = Tensor::<2>::from_data(TensorData::new(case.samples(), shape), &device);
            let labels: Vec<i64> = case.labels().map(|label| label as i64).collect();
            let y = Tensor::<1, Int>::from_data(TensorData::new(labels, [case.batch]), &device);
            let cross_entropy = CrossEntropyLossConfig::new().init(&device);
            let mut network = Some(Network::new(&case, &device));
            let mut rule =
                if case.is_adam { AdamConfig::new().init() } else { SgdConfig::new().init() };
            let loss = |network: &Network| {
                cross_entropy.forward(network.forward(x.clone()), y.clone())
            };
            let mut step = || {
                let before = network.take().expect("each step puts it back");
                let gradients = GradientsParams::from_grads(loss(&before).backward(), &before);
                let value = loss(&before);
                network = Some(rule.step(LEARNING_RATE, before, gradients));
                value
            };
            let first = step().into_scalar::<f32>();
            step();
            step();
            check_learning(first, step().into_scalar::<f32>())?;
            let mut rule =
                if case.is_adam { AdamConfig::new().init() } else { SgdConfig::new().init() };
            let mut network = Some(Network::new(&case, &device));
            serve(|| {
                let before = network.take().expect("each step puts it back");
                let gradients = GradientsParams::from_grads(loss(&before).backward(), &before);
                network = Some(rule.step(LEARNING_RATE, before, gradients));
            })?;
        }
        "infer" => {
            let device = Device::flex();
            let network = Network::new(&case, &device);
            let x = Tensor::<2>::from_data(TensorData::new(case.samples(), shape), &device);
            serve(|| {
                let y = network.forward(x.clone());
                device.sync().expect("the device answers");
                black_box(y);
            })?;
        }
        other => return Err(format!("expected the suite train or infer, got {other}").into()),
    }
    Ok(())
}
