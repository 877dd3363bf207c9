//! candle: steps of training and forward passes.

#[path = "../../sampling.rs"]
mod sampling;

use std::hint::black_box;

use anyhow::{Error, bail};
use candle_core::{DType, Device, Result, Tensor};
use candle_nn::{AdamW, Linear, Module, Optimizer, ParamsAdamW, SGD, VarBuilder, VarMap, linear};

use sampling::{Case, LEARNING_RATE, check_learning, serve};

fn forward(layers: &[Linear], case: &Case, x: &Tensor) -> Result<Tensor> {
    let mut x = x.clone();
    for (number, layer) in layers.iter().enumerate() {
        x = layer.forward(&x)?;
        if number + 1 < layers.len() {
            x = if case.is_tanh { x.tanh()? } else { x.relu()? };
        }
    }
    Ok(x)
}

enum Rule {
    Sgd(SGD),
    Adam(AdamW),
}

fn main() -> anyhow::Result<()> {
    if std::env::args().any(|arg| arg == "--version") {
        println!("0.11");
        return Ok(());
    }
    let case = Case::from_args().map_err(Error::msg)?;
    let device = Device::Cpu;
    let variables = VarMap::new();
    let builder = VarBuilder::from_varmap(&variables, DType::F32, &device);
    let layers: Vec<Linear> = (1..case.layers.len())
        .map(|l| linear(case.layers[l - 1], case.layers[l], builder.pp(format!("{l}"))))
        .collect::<Result<_>>()?;
    let x = Tensor::from_vec(case.samples(), (case.batch, case.inputs()), &device)?;
    match case.suite.as_str() {
        "train" => {
            let labels: Vec<u32> = case.labels().map(|label| label as u32).collect();
            let y = Tensor::from_vec(labels, case.batch, &device)?;
            let mut rule = if case.is_adam {
                let settings = ParamsAdamW {
                    lr: LEARNING_RATE,
                    weight_decay: 0.0,
                    ..Default::default()
                };
                Rule::Adam(AdamW::new(variables.all_vars(), settings)?)
            } else {
                Rule::Sgd(SGD::new(variables.all_vars(), LEARNING_RATE)?)
            };
            let loss = || candle_nn::loss::cross_entropy(&forward(&layers, &case, &x)?, &y);
            let mut step = || match &mut rule {
                Rule::Sgd(rule) => rule.backward_step(&loss()?),
                Rule::Adam(rule) => rule.backward_step(&loss()?),
            };
            let first = loss()?.to_scalar::<f32>()?;
            for _ in 0..3 {
                step()?;
            }
            check_learning(first, loss()?.to_scalar()?).map_err(Error::msg)?;
            serve(|| step().expect("it went well before"))?;
        }
        "infer" => {
            // Detached weights: no graph is kept.
            let layers: Vec<Linear> = layers
                .iter()
                .map(|l| Linear::new(l.weight().detach(), l.bias().map(|bias| bias.detach())))
                .collect();
            forward(&layers, &case, &x)?;
            serve(|| {
                black_box(forward(&layers, &case, &x).expect("it went well before"));
            })?;
        }
        other => bail!("expected the suite train or infer, got {other}"),
    }
    Ok(())
}
