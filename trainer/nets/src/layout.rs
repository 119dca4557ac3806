//! The layouts of weight files: who names the tensors, and how a net there differs.
//!
//! A file's layout is found from the names in it. timm and torchvision keep PyTorch's tensors; of ResNet50 they have the same
//! names and the same net. Keras keeps kernels with the channels last, and names layers that the program did not name by a
//! number that counts all such layers of the session, so the first of a net may be any.
//!
//! What the names do not tell: timm's own `efficientnet_b*` have those of `tf_efficientnet_b*`, but PyTorch's padding and
//! epsilon, and there is nothing in the file to know them by; they are read as `tf_efficientnet_b*`, which is what the Hub
//! repositories of [`Backbone::hub_repository`](crate::Backbone::hub_repository) hold.

use std::collections::BTreeMap;

use candle_core::{Result, Tensor};

use super::architecture::{Parameter, Role};

/// Whose names a file has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// timm's; and torchvision's `resnet50`, which is the same.
    Timm,
    /// torchvision's.
    Torchvision,
    /// `keras.applications`', arrays as in its `.h5` files, under `layer/variable`.
    Keras,
}

impl std::fmt::Display for Layout {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str(match self {
            Self::Timm => "timm",
            Self::Torchvision => "torchvision",
            Self::Keras => "Keras",
        })
    }
}

/// Kinds of Keras's layers that are numbered through.
const NUMBERED: [&str; 2] = ["conv2d", "batch_normalization"];

impl Layout {
    /// The layout of a file with these tensors.
    pub fn of(tensors: &BTreeMap<String, Tensor>) -> Self {
        if tensors.keys().any(|name| name.contains('/')) {
            Self::Keras
        } else if tensors.contains_key("features.0.0.weight") {
            Self::Torchvision
        } else {
            Self::Timm
        }
    }

    /// Whether a tensor of that name is no part of a headless net, but of its classifier or its bookkeeping.
    pub(super) fn ignores(self, name: &str) -> bool {
        let heads: &[&str] = match self {
            Self::Timm | Self::Torchvision => &["fc.", "classifier.", "classif."],
            Self::Keras => &["predictions/", "normalization/", "normalization_", "rescaling"],
        };
        heads.iter().any(|head| name.starts_with(head)) || name.ends_with(".num_batches_tracked")
    }
}

/// Where the parameters of a net are in a file.
pub(super) struct Naming {
    layout: Layout,
    /// The number of the first layer of each of [`NUMBERED`].
    first: [usize; 2],
    /// Keras 3 calls it `kernel`, earlier ones `depthwise_kernel`.
    depthwise_kernel: &'static str,
}

impl Naming {
    pub(super) fn new(layout: Layout, tensors: &BTreeMap<String, Tensor>) -> Self {
        let first = NUMBERED.map(|kind| {
            let numbers = tensors.keys().filter_map(|name| match name.split('/').next()?.strip_prefix(kind)? {
                "" => Some(0),
                number => number.strip_prefix('_')?.parse().ok(),
            });
            numbers.min().unwrap_or(0)
        });
        let earlier = tensors.keys().any(|name| name.ends_with("/depthwise_kernel"));
        Self { layout, first, depthwise_kernel: if earlier { "depthwise_kernel" } else { "kernel" } }
    }

    /// The file's name for a parameter.
    pub(super) fn name(&self, parameter: &Parameter) -> String {
        if self.layout != Layout::Keras {
            return parameter.name();
        }
        let variable = match parameter.role {
            Role::Kernel if parameter.depthwise => self.depthwise_kernel,
            Role::Kernel | Role::UpKernel | Role::Matrix => "kernel",
            Role::Bias => "bias",
            Role::Scale => "gamma",
            Role::Shift => "beta",
            Role::Mean => "moving_mean",
            Role::Variance => "moving_variance",
        };
        let numbered = NUMBERED.iter().zip(self.first).find_map(|(kind, first)| {
            let number: usize = parameter.layer.strip_prefix(kind)?.strip_prefix('_')?.parse().ok()?;
            Some(match number.checked_add(first)? {
                0 => (*kind).to_owned(),
                number => format!("{kind}_{number}"),
            })
        });
        format!("{}/{variable}", numbered.as_deref().unwrap_or(&parameter.layer))
    }

    /// The file's shape of a parameter: Keras keeps `[K_h, K_w, C_in, C_out]`, depthwise `[K_h, K_w, C, 1]`.
    pub(super) fn shape(&self, parameter: &Parameter) -> Vec<usize> {
        match *parameter.shape.as_slice() {
            [out, per_group, rows, columns] if self.layout == Layout::Keras => {
                if parameter.depthwise {
                    vec![rows, columns, out, per_group]
                } else {
                    vec![rows, columns, per_group, out]
                }
            }
            _ => parameter.shape.clone(),
        }
    }

    /// The file's tensor in the net's order of dimensions.
    pub(super) fn convert(&self, parameter: &Parameter, tensor: &Tensor) -> Result<Tensor> {
        match self.layout {
            Layout::Keras if parameter.shape.len() == 4 => {
                let order = if parameter.depthwise { [2, 3, 0, 1] } else { [3, 2, 0, 1] };
                tensor.permute(order)?.contiguous()
            }
            _ => Ok(tensor.clone()),
        }
    }
}
