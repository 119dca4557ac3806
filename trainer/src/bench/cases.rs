//! What is timed: our side, and candle's where candle is the peer.

use candle_core::{DType, Device, Result, Tensor, Var};
use candle_nn::Optimizer as _;
use thorax_nets::{
    Backbone,
    instance::{InstanceConfig, mask_rcnn::MaskRcnnConfig, matching::Order, targets::Targets},
    segmentation::{NetConfig, Pass, attention_unet::AttentionUnetConfig},
};
use thorax_nn::{
    batch_norm::BatchNorm,
    convolution::{
        ConvolutionConfig, TransposedConfig, convolution, convolution_input_gradient, convolution_weight_gradient,
        transposed_convolution,
    },
    detection::{
        BoundingBox,
        roi_align::{Region, RoiAlignConfig, roi_align},
        suppression::greedy,
    },
    dropout::dropout,
    losses::LossConfig,
    optimizer::{AdamWConfig, Optimizer},
    pool::{PoolConfig, average_pool, max_pool},
    seeded,
    upsample::{bilinear, nearest},
};

/// Does the work once.
pub(super) type Work = Box<dyn FnMut() -> Result<()>>;

/// A case that PyTorch has by the same name.
pub(super) struct TorchCase {
    pub(super) name: String,
    pub(super) ours: Box<dyn Fn() -> Result<Work>>,
}

/// A case of our operator and candle's.
pub(super) struct CandleCase {
    pub(super) name: String,
    pub(super) both: Box<dyn Fn() -> Result<(Work, Work)>>,
}

/// A case's name, and what makes it.
type Named = (&'static str, fn() -> Result<Work>);

/// The training steps, whose memory is measured as well.
pub(super) const TRAINING_STEPS: [Named; 2] = [
    ("attention U-Net, training step", training_step),
    ("Mask R-CNN, training step, 2 x 3 x 256 x 256, 64 regions", mask_rcnn_step),
];

const DEVICE: Device = Device::Cpu;

fn normal<const N: usize>(shape: [usize; N], seed: u64) -> Result<Tensor> {
    seeded::normal(shape.as_slice(), 1.0, seed, &DEVICE)
}

/// The cases beside PyTorch.
pub(super) fn beside_torch() -> Vec<TorchCase> {
    let mut cases = vec![];
    for (channels, side) in [(64, 128), (16, 256)] {
        for part in [Part::Forward, Part::InputGradient, Part::WeightGradient] {
            cases.push(convolution_case(3, channels, side, 1, part));
        }
    }
    for kernel in [3, 5] {
        for part in [Part::Forward, Part::Backward] {
            cases.push(convolution_case(kernel, 96, 64, 96, part));
        }
    }
    cases.extend(TRAINING_STEPS.map(|(name, step)| TorchCase { name: name.into(), ours: Box::new(step) }));
    for name in ["ResNet50, forward", "ResNet50, forward (PyTorch frozen)"] {
        cases.push(TorchCase { name: name.into(), ours: Box::new(resnet50_forward) });
    }
    cases.push(TorchCase {
        name: "RoIAlign, 512 regions of 7 x 7 on 2 x 256 x 64 x 64, forward and backward".into(),
        ours: Box::new(regions),
    });
    cases.push(TorchCase { name: "suppression, 2000 boxes".into(), ours: Box::new(suppression) });
    cases
}

/// `count` boxes of 8 to 64 pixels in a picture of `side`.
fn boxes(count: usize, side: f32) -> Result<Vec<BoundingBox>> {
    let numbers = normal([count, 4], 1)?.to_vec2::<f32>()?;
    let share = |v: f32| (v * 0.3 + 0.5).clamp(0.0, 1.0);
    let one = |v: &Vec<f32>| {
        let [x, y] = [share(v[0]) * side, share(v[1]) * side];
        BoundingBox::around(x, y, 8.0 + 56.0 * share(v[2]), 8.0 + 56.0 * share(v[3])).clipped(side, side)
    };
    Ok(numbers.iter().map(one).collect())
}

fn regions() -> Result<Work> {
    let x = Var::from_tensor(&normal([2, 256, 64, 64], 2)?)?.into_inner();
    let regions: Vec<Region> = boxes(512, 256.0)?.into_iter().enumerate().map(|(n, place)| (n % 2, place)).collect();
    let config = RoiAlignConfig { height: 7, width: 7, scale: 0.25, samples: 2, aligned: false };
    Ok(once(true, move || roi_align(&x, &regions, config)))
}

fn suppression() -> Result<Work> {
    let (boxes, scores) = (boxes(2000, 1000.0)?, normal([2000], 3)?.to_vec1::<f32>()?);
    Ok(Box::new(move || {
        std::hint::black_box(greedy(&boxes, &scores, 0.7));
        Ok(())
    }))
}

/// Forward, losses, backward and AdamW of Mask R-CNN, all of it trained, on 2 pictures with three lesions each.
fn mask_rcnn_step() -> Result<Work> {
    let config = MaskRcnnConfig { classes: 2, frozen: false, regions: 64, anchor: 32 };
    let net = InstanceConfig::MaskRcnn(config).init(1, &DEVICE)?;
    let mut optimizer = Optimizer::new(net.trainable(), AdamWConfig::default())?;
    let x = normal([2, 3, 256, 256], 1)?;
    let mut numbers = vec![0f32; 256 * 256];
    for (number, [left, top, width, height]) in
        [[20, 30, 60, 50], [120, 40, 40, 80], [60, 150, 30, 30]].into_iter().enumerate()
    {
        for row in top..top + height {
            numbers[row * 256 + left..][..width].fill((number + 1) as f32);
        }
    }
    let targets = vec![Targets::of_numbers(&numbers, 256, 256)?; 2];
    let mut step = 0;
    Ok(Box::new(move || {
        step += 1;
        let loss = net.loss(&x, &targets, Order::Drawn(step))?;
        optimizer.step(&loss.backward()?, 1e-4)
    }))
}

/// A part of a convolution's work.
#[derive(Clone, Copy)]
enum Part {
    Forward,
    InputGradient,
    WeightGradient,
    Backward,
}

fn convolution_case(kernel: usize, channels: usize, side: usize, groups: usize, part: Part) -> TorchCase {
    const BATCH: usize = 4;
    let kind = if groups > 1 { "depthwise convolution" } else { "convolution" };
    let words = match part {
        Part::Forward => "forward",
        Part::InputGradient => "input gradient",
        Part::WeightGradient => "weight gradient",
        Part::Backward => "backward",
    };
    let name = format!("{kernel}x{kernel} {kind}, {BATCH} x {channels} x {side} x {side}, {words}");
    let ours = move || {
        let x = normal([BATCH, channels, side, side], 1)?;
        let weight = normal([channels, channels / groups, kernel, kernel], 2)?;
        let dy = normal([BATCH, channels, side, side], 3)?;
        let config = ConvolutionConfig { groups, ..ConvolutionConfig::dense(kernel) };
        let input_gradient = {
            let (weight, dy, shape) = (weight.clone(), dy.clone(), x.shape().clone());
            move || convolution_input_gradient(&weight, &dy, &shape, config).map(drop)
        };
        let weight_gradient = {
            let (x, shape) = (x.clone(), weight.shape().clone());
            move || convolution_weight_gradient(&x, &dy, &shape, config).map(drop)
        };
        Ok(match part {
            Part::Forward => Box::new(move || convolution(&x, &weight, config).map(drop)) as Work,
            Part::InputGradient => Box::new(input_gradient),
            Part::WeightGradient => Box::new(weight_gradient),
            Part::Backward => Box::new(move || input_gradient().and_then(|()| weight_gradient())),
        })
    };
    TorchCase { name, ours: Box::new(ours) }
}

/// Forward, loss, backward and AdamW of the attention U-Net (4 blocks, 16 base channels) on 4 pictures of 256 x 256.
fn training_step() -> Result<Work> {
    let net = NetConfig::AttentionUnet(AttentionUnetConfig::default()).init(1, &DEVICE)?;
    let mut optimizer = Optimizer::new(net.trainable(), AdamWConfig::default())?;
    let x = normal([4, 1, 256, 256], 1)?;
    let truth = normal([4, 2, 256, 256], 2)?.gt(0.5)?.to_dtype(DType::F32)?;
    let known = Tensor::ones((4, 2, 1, 1), DType::F32, &DEVICE)?;
    Ok(Box::new(move || {
        let logits = net.forward(&x, Pass::Train { seed: 0 })?;
        let loss = LossConfig::default().loss(&logits[0], &truth, None, &known, 0)?;
        optimizer.step(&loss.backward()?, 1e-3)
    }))
}

fn resnet50_forward() -> Result<Work> {
    let graph = Backbone::ResNet50.draw(1, &DEVICE).map_err(candle_core::Error::wrap)?.graph;
    let [channels, height, width] = graph.input_shape;
    let x = normal([4, channels, height, width], 1)?;
    Ok(Box::new(move || graph.run(&x).map(drop)))
}

/// The cases beside candle's stock operators: each of our operators has one, since it has to show why it exists.
pub(super) fn beside_candle() -> Vec<CandleCase> {
    let case = |name: &str, both: fn() -> Result<(Work, Work)>| CandleCase { name: name.into(), both: Box::new(both) };
    vec![
        case("3x3 convolution, 4 x 64 x 128 x 128, forward", || {
            let ours = |x: &Tensor, w: &Tensor| convolution(x, w, ConvolutionConfig::dense(3));
            weighted([4, 64, 128, 128], [64, 64, 3, 3], false, ours, |x, w| x.conv2d(w, 1, 1, 1, 1))
        }),
        case("3x3 convolution, 4 x 64 x 128 x 128, forward and backward", || {
            let ours = |x: &Tensor, w: &Tensor| convolution(x, w, ConvolutionConfig::dense(3));
            weighted([4, 64, 128, 128], [64, 64, 3, 3], true, ours, |x, w| x.conv2d(w, 1, 1, 1, 1))
        }),
        case("3x3 convolution in 8 groups, 4 x 64 x 64 x 64, forward", || {
            let config = ConvolutionConfig { groups: 8, ..ConvolutionConfig::dense(3) };
            let ours = move |x: &Tensor, w: &Tensor| convolution(x, w, config);
            weighted([4, 64, 64, 64], [64, 8, 3, 3], false, ours, |x, w| x.conv2d(w, 1, 1, 1, 8))
        }),
        case("5x5 depthwise convolution, 4 x 96 x 64 x 64, forward", || {
            let config = ConvolutionConfig { groups: 96, ..ConvolutionConfig::dense(5) };
            let ours = move |x: &Tensor, w: &Tensor| convolution(x, w, config);
            weighted([4, 96, 64, 64], [96, 1, 5, 5], false, ours, |x, w| x.conv2d(w, 2, 1, 1, 96))
        }),
        case("5x5 depthwise convolution, 4 x 96 x 64 x 64, forward and backward", || {
            let config = ConvolutionConfig { groups: 96, ..ConvolutionConfig::dense(5) };
            let ours = move |x: &Tensor, w: &Tensor| convolution(x, w, config);
            weighted([4, 96, 64, 64], [96, 1, 5, 5], true, ours, |x, w| x.conv2d(w, 2, 1, 1, 96))
        }),
        case("3x3 transposed convolution by 2, 4 x 32 x 64 x 64, forward and backward", || {
            let config = TransposedConfig { stride: 2, padding: 1, output_padding: 1, dilation: 1, groups: 1 };
            let ours = move |x: &Tensor, w: &Tensor| transposed_convolution(x, w, config);
            weighted([4, 32, 64, 64], [32, 32, 3, 3], true, ours, |x, w| x.conv_transpose2d(w, 1, 1, 2, 1))
        }),
        case("batch norm and ReLU, 4 x 64 x 128 x 128, forward and backward", || {
            let ours = BatchNorm::new(64, &DEVICE)?;
            let variables = candle_nn::VarMap::new();
            let builder = candle_nn::VarBuilder::from_varmap(&variables, DType::F32, &DEVICE);
            let theirs = candle_nn::batch_norm(64, 1e-5, builder)?;
            let x = normal([4, 64, 128, 128], 1)?;
            unary(x, true, (move |x| ours.train(x, true), move |x| theirs.forward_train(x)?.relu()))
        }),
        case("2x2 max pooling, 4 x 64 x 128 x 128, forward and backward", || {
            let config = PoolConfig::tiles(2);
            unary(normal([4, 64, 128, 128], 1)?, true, (move |x| max_pool(x, config), |x| x.max_pool2d(2)))
        }),
        case("2x2 average pooling, 4 x 64 x 128 x 128, forward and backward", || {
            let config = PoolConfig::tiles(2);
            unary(normal([4, 64, 128, 128], 1)?, true, (move |x| average_pool(x, config, true), |x| x.avg_pool2d(2)))
        }),
        // candle has no gradient of it.
        case("bilinear upsampling by 2, 4 x 32 x 64 x 64, forward", || {
            let x = normal([4, 32, 64, 64], 1)?;
            unary(x, false, (|x| bilinear(x, 128, 128, false), |x| x.upsample_bilinear2d(128, 128, false)))
        }),
        case("nearest upsampling by 2, 4 x 32 x 64 x 64, forward and backward", || {
            let x = normal([4, 32, 64, 64], 1)?;
            unary(x, true, (|x| nearest(x, 128, 128), |x| x.upsample_nearest2d(128, 128)))
        }),
        case("dropout, 4 x 64 x 128 x 128, forward and backward", || {
            let theirs = |x: &Tensor| candle_nn::ops::dropout(x, 0.3);
            unary(normal([4, 64, 128, 128], 1)?, true, (|x| dropout(x, 0.3, 1), theirs))
        }),
        case("AdamW, 16 x 256 x 256 x 3 x 3 values, a step", || {
            let variable = Var::from_tensor(&normal([16, 256, 256, 3, 3], 1)?)?;
            let gradients = variable.affine(2.0, 0.0)?.sum_all()?.backward()?;
            let mut ours = Optimizer::new(vec![("w".into(), variable.clone())], AdamWConfig::default())?;
            let theirs = Var::from_tensor(&variable.copy()?)?;
            let their_gradients = theirs.affine(2.0, 0.0)?.sum_all()?.backward()?;
            let mut stock = candle_nn::AdamW::new_lr(vec![theirs], 1e-3)?;
            Ok((Box::new(move || ours.step(&gradients, 1e-3)), Box::new(move || stock.step(&their_gradients))))
        }),
    ]
}

/// The work of two operators of one input; with `backward`, down to the gradient of the input.
fn unary(
    x: Tensor,
    backward: bool,
    (ours, theirs): (impl Fn(&Tensor) -> Result<Tensor> + 'static, impl Fn(&Tensor) -> Result<Tensor> + 'static),
) -> Result<(Work, Work)> {
    let x = if backward { Var::from_tensor(&x)?.into_inner() } else { x };
    let other = x.clone();
    Ok((once(backward, move || ours(&x)), once(backward, move || theirs(&other))))
}

/// The work of two operators of an input and a weight; with `backward`, down to the gradients of both.
fn weighted(
    x: [usize; 4],
    weight: [usize; 4],
    backward: bool,
    ours: impl Fn(&Tensor, &Tensor) -> Result<Tensor> + 'static,
    theirs: impl Fn(&Tensor, &Tensor) -> Result<Tensor> + 'static,
) -> Result<(Work, Work)> {
    let mut weight = normal(weight, 2)?;
    if backward {
        weight = Var::from_tensor(&weight)?.into_inner();
    }
    let other = weight.clone();
    unary(normal(x, 1)?, backward, (move |x: &Tensor| ours(x, &weight), move |x: &Tensor| theirs(x, &other)))
}

fn once(backward: bool, f: impl Fn() -> Result<Tensor> + 'static) -> Work {
    Box::new(move || {
        let y = f()?;
        // The sum costs both sides the same, and little.
        if backward { y.sum_all()?.backward().map(drop) } else { Ok(()) }
    })
}
