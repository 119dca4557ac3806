//! `thorax-train bench`: our operators beside candle's own, in alternation, in one run.

use std::time::{Duration, Instant};

use candle_core::{Device, Result, Tensor, Var};

use crate::{
    nets::attention_unet::AttentionUnetConfig,
    nn::{
        batch_norm::BatchNorm,
        convolution::{ConvolutionConfig, convolution},
        seeded,
    },
};

/// What is timed.
#[derive(Debug, clap::Args)]
pub struct BenchArgs {
    /// Paired runs of each operator.
    #[arg(long, default_value_t = 9)]
    pairs: usize,
    /// Sides of the pictures.
    #[arg(long, default_value_t = 128)]
    side: usize,
    /// Channels.
    #[arg(long, default_value_t = 64)]
    channels: usize,
    /// Pictures.
    #[arg(long, default_value_t = 4)]
    batch: usize,
}

fn time(f: &mut dyn FnMut() -> Result<()>) -> Result<Duration> {
    let start = Instant::now();
    f()?;
    Ok(start.elapsed())
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64() * 1e3
}

fn pair(
    name: &str,
    pairs: usize,
    mut ours: impl FnMut() -> Result<()>,
    mut theirs: impl FnMut() -> Result<()>,
) -> Result<()> {
    let (mut a, mut b) = (vec![], vec![]);
    for _ in 0..pairs.max(1) {
        a.push(time(&mut ours)?);
        b.push(time(&mut theirs)?);
    }
    let (a, b) = (median(a), median(b));
    println!("{name:<44} {a:>9.1} ms  candle {b:>9.1} ms  ratio {:.2}", a / b);
    Ok(())
}

fn backward(y: &Tensor) -> Result<()> {
    y.sqr()?.mean_all()?.backward().map(drop)
}

/// Prints medians and ratios.
///
/// # Errors
/// When candle fails.
pub fn run(args: &BenchArgs) -> anyhow::Result<()> {
    let device = Device::Cpu;
    let &BenchArgs { pairs, side, channels, batch } = args;
    println!(
        "{} threads, medians of {pairs} pairs, [{batch}, {channels}, {side}, {side}]",
        rayon::current_num_threads()
    );
    let x = Var::from_tensor(&seeded::normal((batch, channels, side, side), 1.0, 1, &device)?)?;
    let weight = Var::from_tensor(&seeded::normal((channels, channels, 3, 3), 0.05, 2, &device)?)?;
    let dense = ConvolutionConfig::dense(3);
    pair(
        "3x3 convolution, forward",
        pairs,
        || convolution(&x, &weight, dense).map(drop),
        || x.conv2d(&weight, 1, 1, 1, 1).map(drop),
    )?;
    pair(
        "3x3 convolution, forward and backward",
        pairs,
        || backward(&convolution(&x, &weight, dense)?),
        || backward(&x.conv2d(&weight, 1, 1, 1, 1)?),
    )?;
    let kernel = seeded::normal((channels, 1, 5, 5), 0.2, 3, &device)?;
    let depthwise = ConvolutionConfig { groups: channels, ..ConvolutionConfig::dense(5) };
    pair(
        "5x5 depthwise convolution, forward",
        pairs,
        || convolution(x.as_tensor(), &kernel, depthwise).map(drop),
        || x.conv2d(&kernel, 2, 1, 1, channels).map(drop),
    )?;
    let ours = BatchNorm::new(channels, &device)?;
    let variables = candle_nn::VarMap::new();
    let builder = candle_nn::VarBuilder::from_varmap(&variables, candle_core::DType::F32, &device);
    let theirs = candle_nn::batch_norm(channels, 1e-5, builder)?;
    pair(
        "batch norm and ReLU, forward and backward",
        pairs,
        || backward(&ours.train(&x, true)?),
        || backward(&theirs.forward_train(&x)?.relu()?),
    )?;
    let net = AttentionUnetConfig::default().init(1, &device)?;
    let picture = seeded::normal((batch, 1, side, side), 1.0, 4, &device)?;
    let mut times = vec![];
    for _ in 0..pairs.min(5) {
        times.push(time(&mut || backward(&net.forward(&picture, true)?))?);
    }
    println!("{:<44} {:>9.1} ms", "attention U-Net, forward and backward", median(times));
    Ok(())
}
