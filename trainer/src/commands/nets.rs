//! `thorax-train nets`: every net there is, what it takes, how large it is, and what it is judged by.

use std::io::Write;

use thorax_nets::{
    architecture::Role,
    instance::{
        InstanceConfig, blitznet, blitznet::BlitzNetConfig, mask_rcnn::MaskRcnnConfig, solo, solo::SoloConfig,
        srgnet::SrgNetConfig, yolact, yolact::YolactConfig,
    },
    segmentation::{
        NetConfig, attention_unet::AttentionUnetConfig, efficientnet_unet::EfficientNetUnetConfig,
        modified_attention_unet::ModifiedAttentionUnetConfig, unet::UnetConfig, unet_plus_plus::UnetPlusPlusConfig,
    },
};
use thorax_shared::mask;

use super::backbones::{rows as backbones, thousands, write_table};

/// What a net makes of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum NetKind {
    /// A map of features (`thorax-train backbones` tells more of them)
    Backbone,
    /// Masks: thorax-train train segment
    Segmenter,
    /// Single lesions: thorax-train train instance
    Instance,
}

/// Arguments of `thorax-train nets`.
#[derive(Debug, clap::Args)]
pub struct NetsArgs {
    /// Only nets of this kind
    #[arg(long, value_enum)]
    kind: Option<NetKind>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A row of the list.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct NetLine {
    /// Its name on the command line.
    pub name: String,
    /// What it makes.
    pub kind: NetKind,
    /// Where it is from.
    pub paper: &'static str,
    /// `[C, H, W]` of the pictures of the published net, or of what is trained here by default.
    pub input: [usize; 3],
    /// How many parameters it has, counted as the note below the table says.
    pub parameters: usize,
    /// Reference boxes of such a picture, of a net that has a fixed number of them.
    pub priors: Option<usize>,
    /// What it is judged by.
    pub scored_by: &'static str,
}

/// What the table counts.
const COUNTED: &str = "\
Parameters: of backbones as Keras counts them, moving statistics included; of segmenters and instance nets as PyTorch counts them, \
without moving statistics and (Mask R-CNN) without the batch norms that stay what they are. Segmenters have the shape that train \
segment gives them by default, instance nets one class of lesions.";

/// Channels and side of the pictures that `train segment` takes by default.
const SEGMENTER_INPUT: [usize; 3] = [1, 192, 192];

/// All nets, in the order of their kinds.
///
/// # Errors
/// A net that cannot be described.
pub fn rows() -> candle_core::Result<Vec<NetLine>> {
    let mut rows: Vec<NetLine> = backbones()
        .into_iter()
        .map(|row| NetLine {
            name: row.name.to_string(),
            kind: NetKind::Backbone,
            paper: row.paper,
            input: row.input,
            parameters: row.parameters,
            priors: None,
            scored_by: "the classifiers on its features",
        })
        .collect();
    for (name, paper, net) in segmenters() {
        let parameters = net.architecture()?.parameters();
        let counted = parameters.iter().filter(|parameter| !matches!(parameter.role, Role::Mean | Role::Variance));
        let input = if net.unet().is_some() { SEGMENTER_INPUT } else { [3, 224, 224] };
        rows.push(NetLine {
            name: name.to_owned(),
            kind: NetKind::Segmenter,
            paper,
            input,
            parameters: counted.map(|parameter| parameter.count()).sum(),
            priors: None,
            scored_by: "its masks",
        });
    }
    for (name, paper, side, net) in instance_nets() {
        rows.push(NetLine {
            name: name.to_owned(),
            kind: NetKind::Instance,
            paper,
            input: [3, side, side],
            parameters: net.parameters(),
            priors: net.priors(side),
            scored_by: match net {
                InstanceConfig::Blitznet(_) => "its semantic map, and each lesion",
                _ => "the union of its lesions, and each lesion",
            },
        });
    }
    Ok(rows)
}

fn segmenters() -> [(&'static str, &'static str, NetConfig); 5] {
    let unet = UnetConfig { channels_in: 1, channels_out: mask::NAMES.len(), base_channels: 16, blocks: 4 };
    let modified = ModifiedAttentionUnetConfig { unet, ..ModifiedAttentionUnetConfig::default() };
    let efficientnet = EfficientNetUnetConfig { channels_out: mask::NAMES.len(), ..EfficientNetUnetConfig::default() };
    [
        ("unet", "Ronneberger et al. 2015", NetConfig::Unet(unet)),
        ("attention-unet", "Oktay et al. 2018", NetConfig::AttentionUnet(AttentionUnetConfig { unet })),
        ("modified-attention-unet", "the paper, section IV.B", NetConfig::ModifiedAttentionUnet(modified)),
        ("unet-plus-plus", "Zhou et al. 2018", NetConfig::UnetPlusPlus(UnetPlusPlusConfig { unet })),
        ("efficientnet", "the paper, section IV.B", NetConfig::EfficientNet(efficientnet)),
    ]
}

fn instance_nets() -> [(&'static str, &'static str, usize, InstanceConfig); 5] {
    [
        ("mask-rcnn", "He et al. 2017", 800, InstanceConfig::MaskRcnn(MaskRcnnConfig::default())),
        ("yolact", "Bolya et al. 2019", yolact::SIDE, InstanceConfig::Yolact(YolactConfig::default())),
        ("solo", "Wang et al. 2020", solo::SIDE, InstanceConfig::Solo(SoloConfig::default())),
        ("blitznet", "Dvornik et al. 2017", blitznet::SIDE, InstanceConfig::Blitznet(BlitzNetConfig::default())),
        ("srgnet", "Wu et al. 2021 (reconstruction)", 800, InstanceConfig::Srgnet(SrgNetConfig::default())),
    ]
}

/// Prints the list.
///
/// # Errors
/// When standard output is closed.
pub fn run(arguments: &NetsArgs) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    let rows: Vec<NetLine> =
        rows()?.into_iter().filter(|row| arguments.kind.is_none_or(|kind| kind == row.kind)).collect();
    if arguments.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&rows)?)?;
        return Ok(());
    }
    let header = ["name", "kind", "paper", "input", "parameters", "priors", "scored by"];
    let mut table = vec![header.map(str::to_owned)];
    table.extend(rows.into_iter().map(
        |NetLine { name, kind, paper, input: [c, h, w], parameters, priors, scored_by }| {
            let kind = match kind {
                NetKind::Backbone => "backbone",
                NetKind::Segmenter => "segmenter",
                NetKind::Instance => "instance",
            };
            [
                name,
                kind.to_owned(),
                paper.to_owned(),
                format!("{c} x {h} x {w}"),
                thousands(parameters),
                priors.map_or_else(|| "-".to_owned(), thousands),
                scored_by.to_owned(),
            ]
        },
    ));
    write_table(&mut out, &table, 4..=5)?;
    writeln!(out, "\n{COUNTED}")?;
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_net_is_listed_once_with_its_parameters_and_priors() {
        let rows = rows().unwrap();
        let of = |kind: NetKind| rows.iter().filter(|row| row.kind == kind).count();
        assert_eq!([of(NetKind::Backbone), of(NetKind::Segmenter), of(NetKind::Instance)], [13, 5, 5]);
        let find =
            |name: &str| rows.iter().find(|row| row.name == name).map(|row| (row.parameters, row.priors)).unwrap();
        assert_eq!(find("mask-rcnn"), (43_922_395, None));
        assert_eq!(find("yolact"), (30_598_355, Some(19_248)));
        assert_eq!(find("solo"), (36_119_137, None));
        assert_eq!(find("blitznet"), (55_625_342, Some(45_390)));
        assert!(find("attention-unet").0 > 100_000);
    }
}
