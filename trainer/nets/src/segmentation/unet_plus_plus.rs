//! U-Net++ (Zhou et al. 2018), which the paper calls U-Net+: nested, dense skip connections, and a head on each of the full-size maps.
//!
//! Node `(i, j)` has the size of encoder block `i`; it takes all nodes `(i, 0..j)` and the upsampled node `(i + 1, j - 1)`. All heads
//! `(0, 1..=blocks)` are trained (deep supervision), and the net's answer is the mean of their logits.

use candle_core::{Device, Result, Tensor};
use thorax_nn::{
    elementwise::concatenate,
    graph::{Graph, NodeId, Operation},
    pool::{PoolConfig, max_pool},
};

use super::{
    Pass, SegmentationNet, Visitor,
    blocks::{Biased, DoubleConvolution, Initialiser, Up, width},
    unet::UnetConfig,
};

/// The shape of the net.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct UnetPlusPlusConfig {
    /// Channels and blocks; at least 1 block.
    #[serde(flatten)]
    pub unet: UnetConfig,
}

impl UnetPlusPlusConfig {
    /// The net with weights drawn from `seed`.
    ///
    /// # Errors
    /// No blocks; when the device refuses the memory.
    pub fn init(self, seed: u64, device: &Device) -> Result<UnetPlusPlus> {
        let UnetConfig { channels_in, channels_out, base_channels, blocks } = self.unet;
        if blocks == 0 {
            candle_core::bail!("U-Net++ has no head without a block");
        }
        let mut draw = Initialiser::new(seed, device);
        let width = |block: usize| width(base_channels, block);
        let encoder = (0..=blocks)
            .map(|b| draw.double(if b == 0 { channels_in } else { width(b - 1) }, width(b)))
            .collect::<Result<_>>()?;
        let nested = (1..=blocks)
            .map(|j| {
                (0..=blocks - j)
                    .map(|i| {
                        let up = draw.up(width(i + 1), width(i))?;
                        Ok(Node { up, double: draw.double((j + 1) * width(i), width(i))? })
                    })
                    .collect::<Result<_>>()
            })
            .collect::<Result<_>>()?;
        let heads = (0..blocks).map(|_| draw.biased(width(0), channels_out, 1)).collect::<Result<_>>()?;
        Ok(UnetPlusPlus { config: self, encoder, nested, heads })
    }
}

/// The net with its weights.
pub struct UnetPlusPlus {
    config: UnetPlusPlusConfig,
    /// Nodes `(i, 0)`.
    encoder: Vec<DoubleConvolution>,
    /// Nodes `(i, j)`, by `j - 1` and then `i`.
    nested: Vec<Vec<Node>>,
    heads: Vec<Biased>,
}

struct Node {
    up: Up,
    double: DoubleConvolution,
}

impl SegmentationNet for UnetPlusPlus {
    fn device(&self) -> &Device {
        self.heads[0].device()
    }

    fn forward(&self, x: &Tensor, pass: Pass) -> Result<Vec<Tensor>> {
        let train = pass.trains();
        // Of each size: all nodes so far, and the last of them.
        let mut dense: Vec<Tensor> = Vec::with_capacity(self.encoder.len());
        for block in &self.encoder {
            let x = match dense.last() {
                Some(above) => max_pool(above, PoolConfig::tiles(2))?,
                None => x.clone(),
            };
            dense.push(block.forward(&x, train)?);
        }
        let mut last = dense.clone();
        let mut logits = Vec::with_capacity(self.heads.len());
        for (nodes, head) in self.nested.iter().zip(&self.heads) {
            let mut next = Vec::with_capacity(nodes.len());
            for (i, node) in nodes.iter().enumerate() {
                let up = node.up.forward(&last[i + 1])?;
                let made = node.double.forward(&concatenate(&dense[i], &up)?, train)?;
                dense[i] = concatenate(&dense[i], &made)?;
                next.push(made);
            }
            logits.push(head.forward(&next[0])?);
            last = next;
        }
        Ok(logits)
    }

    fn graph(&self, side: usize) -> Result<(Graph, NodeId)> {
        let mut graph = Graph::new([self.config.unet.channels_in, side, side]);
        let mut dense: Vec<Vec<NodeId>> = vec![];
        for block in &self.encoder {
            let node = match dense.last() {
                Some(above) => graph.push(Operation::MaxPool(PoolConfig::tiles(2)), above),
                None => 0,
            };
            dense.push(vec![block.write(&mut graph, node)?]);
        }
        let mut last: Vec<NodeId> = dense.iter().map(|nodes| nodes[0]).collect();
        let mut sum: Option<NodeId> = None;
        for (nodes, head) in self.nested.iter().zip(&self.heads) {
            let mut next = Vec::with_capacity(nodes.len());
            for (i, node) in nodes.iter().enumerate() {
                let mut inputs = dense[i].clone();
                inputs.push(node.up.write(&mut graph, last[i + 1])?);
                let both = graph.push(Operation::Concatenate, &inputs);
                let made = node.double.write(&mut graph, both)?;
                dense[i].push(made);
                next.push(made);
            }
            let logits = head.write_scaled(&mut graph, next[0], 1.0 / self.heads.len() as f64)?;
            sum = Some(sum.map_or(logits, |before| graph.push(Operation::Add, &[before, logits])));
            last = next;
        }
        let sum = sum.ok_or_else(|| candle_core::Error::Msg("U-Net++ has no head without a block".into()))?;
        Ok((graph, sum))
    }

    fn visit(&self, visitor: &mut Visitor) {
        for (i, block) in self.encoder.iter().enumerate() {
            block.visit(&format!("encoder.{i}"), visitor);
        }
        for (j, nodes) in self.nested.iter().enumerate() {
            for (i, node) in nodes.iter().enumerate() {
                let prefix = format!("nested.{i}.{}", j + 1);
                node.up.visit(&format!("{prefix}.up"), visitor);
                node.double.visit(&prefix, visitor);
            }
        }
        for (index, head) in self.heads.iter().enumerate() {
            head.visit(&format!("head.{index}"), visitor);
        }
    }
}
