//! Every net is what it was when its numbers were taken: names and order of the variables, the values they start with, and the
//! bytes of the ONNX file. Checkpoints, resumed runs and published bundles rest on these.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use thorax_nets::{
    Backbone,
    segmentation::{
        NetConfig, attention_unet::AttentionUnetConfig, efficientnet_unet::EfficientNetUnetConfig,
        modified_attention_unet::ModifiedAttentionUnetConfig, unet::UnetConfig, unet_plus_plus::UnetPlusPlusConfig,
    },
};
use thorax_nn::{
    graph::Graph,
    onnx::{HALF_PRECISION_FROM, to_onnx},
};

/// FNV-1a.
struct Hash(u64);

impl Hash {
    fn new() -> Self {
        Self(0xCBF2_9CE4_8422_2325)
    }

    fn bytes(&mut self, bytes: impl IntoIterator<Item = u8>) {
        self.0 = bytes.into_iter().fold(self.0, |hash, b| (hash ^ u64::from(b)).wrapping_mul(0x0100_0000_01B3));
    }

    fn tensor(&mut self, name: &str, tensor: &Tensor) {
        self.bytes(format!("{name}{:?}", tensor.dims()).into_bytes());
        let values: Vec<f32> = tensor.flatten_all().unwrap().to_vec1().unwrap();
        self.bytes(values.into_iter().flat_map(f32::to_le_bytes));
    }
}

const UNET: UnetConfig = UnetConfig { channels_in: 1, channels_out: 3, base_channels: 16, blocks: 3 };

fn nets() -> [(&'static str, NetConfig); 6] {
    let modified = |dropout, blocks| {
        let unet = UnetConfig { base_channels: 4, blocks, ..UNET };
        NetConfig::ModifiedAttentionUnet(ModifiedAttentionUnetConfig { unet, dropout })
    };
    [
        ("unet", NetConfig::Unet(UNET)),
        ("attention", NetConfig::AttentionUnet(AttentionUnetConfig { unet: UNET })),
        ("modified", modified(0.2, 4)),
        ("undropped", modified(0.0, 3)),
        ("plus-plus", NetConfig::UnetPlusPlus(UnetPlusPlusConfig { unet: UNET })),
        ("efficientnet", NetConfig::EfficientNet(EfficientNetUnetConfig { base_channels: 4, ..Default::default() })),
    ]
}

fn onnx(mut graph: Graph) -> u64 {
    graph.round_to_half(HALF_PRECISION_FROM).unwrap();
    // The version of the program is in the file, and changes.
    let bytes = to_onnx(&graph, "net").unwrap();
    let version = env!("CARGO_PKG_VERSION").as_bytes();
    let at = bytes.windows(version.len()).position(|window| window == version).unwrap();
    let mut hash = Hash::new();
    hash.bytes(bytes[..at].iter().chain(&bytes[at + version.len()..]).copied());
    hash.0
}

#[test]
fn segmentation_nets_are_what_they_were() {
    let found = nets().map(|(name, config)| {
        let net = config.init(7, &Device::Cpu).unwrap();
        let mut start = Hash::new();
        net.variables().iter().for_each(|(name, var)| start.tensor(name, var.as_tensor()));
        let mut trained = Hash::new();
        net.trainable().iter().for_each(|(name, _)| trained.bytes(name.bytes()));
        let plain = onnx(net.to_graph(64).unwrap());
        let masks = config.unet().map_or(2, |unet| unet.channels_out);
        (name, [start.0, trained.0, plain, onnx(net.to_graph_at(96, &[0.3, 0.5, 0.6][..masks]).unwrap())])
    });
    let expected = [
        ("unet", [0x8A11_E085_65F7_33D5, 0x48CB_1B62_72B5_486A, 0x2459_C733_1E04_FB47, 0xDBFD_6B23_B5CB_5C39]),
        ("attention", [0x1C34_5166_13AF_91AF, 0x0A71_48F1_9410_55D3, 0x56CE_5A7E_0272_40C8, 0x1035_83AC_86E2_E77B]),
        ("modified", [0x9AC5_0C82_062A_5A3C, 0x6F9C_F311_0BE5_DC83, 0x2071_C895_C44D_8648, 0xA252_17AC_7BA2_3306]),
        ("undropped", [0x8418_1223_8ECD_F18B, 0x8045_5688_1902_A853, 0xFC53_40F2_441F_6B66, 0xA01D_9A00_3AA3_07B2]),
        ("plus-plus", [0xE620_523C_816A_BC46, 0xC156_F6E5_B9B9_6696, 0xE046_03B9_2377_2EE7, 0x8FD5_C24D_F7D0_D99A]),
        ("efficientnet", [0x2391_8E28_AC80_5677, 0x22E0_FF41_5502_1366, 0xD583_D46C_6861_7F8D, 0x4A65_CE92_9E12_D86F]),
    ];
    assert_eq!(found, expected, "{found:#x?}");
}

#[test]
fn backbones_are_what_they_were() {
    let mut found = vec![];
    for backbone in Backbone::ALL {
        for layout in backbone.layouts() {
            let architecture = backbone.architecture(*layout);
            let mut names = Hash::new();
            for parameter in architecture.parameters() {
                names.bytes(format!("{}{:?}", parameter.name(), parameter.shape).into_bytes());
            }
            let graph = match backbone {
                Backbone::EfficientNetB(1..) | Backbone::EfficientNetLite(1..) => 0,
                _ => {
                    let filled = |shape: &[usize]| Tensor::full(0.3f32, shape, &Device::Cpu).unwrap();
                    let parameters = architecture.parameters();
                    let weights = parameters.iter().map(|p| (p.name(), filled(&p.shape))).collect::<BTreeMap<_, _>>();
                    onnx(architecture.graph(weights, 96).unwrap().0)
                }
            };
            found.push((format!("{backbone} {layout}"), [names.0, graph]));
        }
    }
    let drawn = Backbone::EfficientNetLite(0).drawn_weights(3, &Device::Cpu).unwrap();
    let mut start = Hash::new();
    drawn.weights().iter().for_each(|(name, tensor)| start.tensor(name, tensor));
    found.push(("drawn".into(), [start.0, onnx(drawn.pretrained(64).unwrap().graph)]));
    let expected: [(&str, [u64; 2]); 32] = [
        ("resnet50 timm", [0x18C7_EBD2_2B57_D762, 0x0068_427B_410E_8257]),
        ("resnet50 Keras", [0x1E5C_F082_6E0D_70C9, 0x8DB4_A491_BA91_0D2F]),
        ("inception-resnet-v2 timm", [0xEB2A_34BF_7856_329A, 0x4A2D_6CEE_7F9C_CC93]),
        ("inception-resnet-v2 Keras", [0x38D1_90B8_2031_E954, 0xC764_2390_D48E_A9D3]),
        ("efficientnet-b0 timm", [0x7476_26B9_282E_2CE0, 0x3A01_0DA5_5B2A_1E87]),
        ("efficientnet-b0 torchvision", [0x8CE7_A367_8924_0306, 0x28BC_C99A_CF4B_C191]),
        ("efficientnet-b0 Keras", [0x7559_1640_6BF0_78D0, 0x3A01_0DA5_5B2A_1E87]),
        ("efficientnet-b1 timm", [0x575A_6AF0_6FCB_E2FE, 0]),
        ("efficientnet-b1 torchvision", [0x3682_C742_AD54_43BC, 0]),
        ("efficientnet-b1 Keras", [0x9FB3_594E_F9CF_F9F1, 0]),
        ("efficientnet-b2 timm", [0x7E16_78EE_F7E5_3C7B, 0]),
        ("efficientnet-b2 torchvision", [0xDBB2_0C26_9842_64D9, 0]),
        ("efficientnet-b2 Keras", [0x037C_5376_5C16_53D8, 0]),
        ("efficientnet-b3 timm", [0x8EF4_81C9_71CB_7630, 0]),
        ("efficientnet-b3 torchvision", [0x3A35_9476_210F_418D, 0]),
        ("efficientnet-b3 Keras", [0x7F2D_70AB_F838_1397, 0]),
        ("efficientnet-b4 timm", [0x94B4_33AF_AEAE_0FA0, 0]),
        ("efficientnet-b4 torchvision", [0x8160_2F3A_3577_B729, 0]),
        ("efficientnet-b4 Keras", [0x681D_8AF8_54FE_CC13, 0]),
        ("efficientnet-b5 timm", [0x561C_FCA2_F0A2_1AFF, 0]),
        ("efficientnet-b5 torchvision", [0x6CA4_6BF3_132D_866C, 0]),
        ("efficientnet-b5 Keras", [0x1CDA_B03D_C527_1FD7, 0]),
        ("efficientnet-b6 timm", [0xE4CF_D033_ADE2_A0E2, 0]),
        ("efficientnet-b6 torchvision", [0x0619_BB1C_728A_F547, 0]),
        ("efficientnet-b6 Keras", [0x4B37_7E68_4824_6395, 0]),
        ("efficientnet-b7 timm", [0xD818_90F1_EBE8_22B5, 0]),
        ("efficientnet-b7 torchvision", [0xFBC2_5D40_80B3_E815, 0]),
        ("efficientnet-b7 Keras", [0x94CB_C590_2935_D327, 0]),
        ("efficientnet-lite0 timm", [0x19E6_F082_4394_D3BB, 0xEDC4_71AF_A688_3FC5]),
        ("efficientnet-lite1 timm", [0xC984_F0FF_61A7_5CD7, 0]),
        ("efficientnet-lite2 timm", [0x4E28_90C9_4030_A701, 0]),
        ("drawn", [0xA8C7_910B_2D6D_8F9C, 0x79E1_5806_9FFB_AD41]),
    ];
    let found: Vec<_> = found.iter().map(|(name, hashes)| (name.as_str(), *hashes)).collect();
    assert_eq!(found, expected, "{found:#x?}");
}
