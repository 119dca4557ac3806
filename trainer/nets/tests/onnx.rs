//! A segmentation net as ONNX and back.
#![allow(clippy::unwrap_used)]

use candle_core::Device;
use thorax_nets::segmentation::{NetConfig, attention_unet::AttentionUnetConfig, unet::UnetConfig};
use thorax_nn::{
    graph::Graph,
    onnx::{HALF_PRECISION_FROM, from_onnx, to_onnx},
    seeded,
};

#[test]
fn what_is_written_computes_the_same_when_read() {
    let unet = UnetConfig { channels_in: 1, channels_out: 2, base_channels: 8, blocks: 2 };
    let net = NetConfig::AttentionUnet(AttentionUnetConfig { unet }).init(3, &Device::Cpu).unwrap();
    let mut graph = net.to_graph(16).unwrap();
    assert!(to_onnx(&graph, "unet").is_err(), "weights that are not rounded are refused");
    graph.round_to_half(HALF_PRECISION_FROM).unwrap();
    let bytes = to_onnx(&graph, "unet").unwrap();
    let read = from_onnx(&bytes).unwrap();
    let x = seeded::normal((1, 1, 16, 16), 1.0, 4, &Device::Cpu).unwrap();
    let values = |graph: &Graph| graph.run(&x).unwrap().remove(0).flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert_eq!(values(&graph), values(&read));
    assert_eq!(to_onnx(&read, "unet").unwrap().len(), bytes.len());
}
