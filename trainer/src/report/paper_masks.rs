//! The paper's tables IX to XII, with the digits it prints; and what others published of the set that table XI is of.

/// A row of table IX: frozen EfficientNets.
pub(super) struct Transfer {
    /// The variant, `1` for B1; the paper has no B0.
    pub(super) variant: u8,
    pub(super) epochs: usize,
    pub(super) dice: f64,
    pub(super) iou: f64,
}

/// Table IX.
pub(super) static TRANSFER: [Transfer; 7] = [
    Transfer { variant: 1, epochs: 400, dice: 0.72, iou: 0.5625 },
    Transfer { variant: 2, epochs: 400, dice: 0.74, iou: 0.587_302 },
    Transfer { variant: 3, epochs: 400, dice: 0.69, iou: 0.526_718 },
    Transfer { variant: 4, epochs: 400, dice: 0.70, iou: 0.538_462 },
    Transfer { variant: 5, epochs: 400, dice: 0.75, iou: 0.6 },
    Transfer { variant: 6, epochs: 400, dice: 0.73, iou: 0.574_803 },
    Transfer { variant: 7, epochs: 400, dice: 0.76, iou: 0.612_903 },
];

/// Rows of table X with one size and learning rate, of 100, 200, 300, 400 and 500 epochs.
pub(super) struct Grid {
    /// Encoder blocks.
    pub(super) blocks: usize,
    /// Learning rate, as printed.
    pub(super) rate: &'static str,
    /// Dice and IoU.
    pub(super) scores: [[f64; 2]; 5],
}

/// The numbers of epochs of the rows of a [`Grid`].
pub(super) const EPOCHS: [usize; 5] = [100, 200, 300, 400, 500];

/// Table X.
pub(super) static GRID: [Grid; 6] = [
    Grid {
        blocks: 4,
        rate: "0.0005",
        scores: [[0.75, 0.6], [0.76, 0.612_903], [0.75, 0.6], [0.78, 0.639_344], [0.8, 0.666_667]],
    },
    Grid {
        blocks: 6,
        rate: "0.0001",
        scores: [[0.72, 0.5625], [0.73, 0.574_803], [0.75, 0.6], [0.78, 0.639_344], [0.81, 0.680_672]],
    },
    Grid {
        blocks: 6,
        rate: "0.0005",
        scores: [[0.76, 0.612_903], [0.77, 0.626_016], [0.79, 0.652_893], [0.81, 0.680_672], [0.82, 0.694_915]],
    },
    Grid {
        blocks: 4,
        rate: "cosine(5e-5)",
        scores: [[0.69, 0.526_718], [0.69, 0.526_718], [0.71, 0.550_388], [0.71, 0.550_388], [0.72, 0.5625]],
    },
    Grid {
        blocks: 6,
        rate: "cosine(1e-5)",
        scores: [[0.85, 0.739_130], [0.88, 0.785_714], [0.84, 0.724_137], [0.89, 0.801_801], [0.90, 0.818_181]],
    },
    Grid {
        blocks: 6,
        rate: "cosine(5e-5)",
        scores: [[0.77, 0.626_016], [0.78, 0.639_344], [0.76, 0.612_903], [0.74, 0.587_302], [0.72, 0.5625]],
    },
];

/// A row of tables XI and XII.
pub(super) struct Method {
    /// As the paper calls it.
    pub(super) name: &'static str,
    /// IoU, Dice and pixel accuracy in percent, in table XI and in table XII.
    pub(super) scores: [[f64; 3]; 2],
}

/// Tables XI (the 20-volume set) and XII (the paper names a classification set).
pub(super) static METHODS: [Method; 9] = [
    Method { name: "U-Net", scores: [[66.8, 78.9, 77.7], [52.2, 68.6, 69.8]] },
    Method { name: "Attention U-Net", scores: [[69.7, 82.1, 81.4], [59.1, 74.3, 72.5]] },
    Method { name: "U-Net+ (U-Net++)", scores: [[67.8, 80.2, 78.4], [53.2, 69.5, 65.8]] },
    Method { name: "Mask-RCNN", scores: [[67.2, 80.7, 78.5], [53.9, 70.1, 71.2]] },
    Method { name: "BlitzNet", scores: [[69.5, 81.1, 81.7], [65.8, 79.4, 77.3]] },
    Method { name: "Yolact", scores: [[58.4, 74.2, 69.9], [48.3, 65.2, 66.8]] },
    Method { name: "SOLO", scores: [[70.1, 83.0, 82.4], [61.8, 76.4, 75.3]] },
    Method { name: "SRGNet", scores: [[71.1, 83.0, 83.2], [66.8, 80.1, 78.5]] },
    Method { name: "Modified Attention U-Net", scores: [[81.1, 90.4, 88.6], [75.7, 86.2, 83.4]] },
];

/// A row of table XIII.
pub(super) struct Other {
    /// The work, with its number in the paper's references.
    pub(super) name: &'static str,
    /// Dice in percent.
    pub(super) dice: f64,
    /// IoU in percent.
    pub(super) iou: f64,
}

/// Table XIII. (Of the fifth the paper does not say what it is.)
pub(super) static OTHERS: [Other; 6] = [
    Other { name: "Diniz et al. [32]", dice: 77.1, iou: 66.86 },
    Other { name: "Müller et al. [33]", dice: 80.4, iou: 67.2 },
    Other { name: "Zhang et al. [34]", dice: 75.8, iou: 61.3 },
    Other { name: "Zhou et al. [35]", dice: 83.1, iou: 71.08 },
    Other { name: "Paper-V [?]", dice: 70.3, iou: 54.2 },
    Other { name: "the paper's net", dice: 90.4, iou: 81.1 },
];

/// The 100 slices that table XIII is of, as sources are called.
pub(super) const OTHERS_SET: &str = "medicalsegmentation.com";

/// The set of 20 cases of Ma et al. that table XI is of, as sources are called.
pub(super) const PUBLISHED_SET: &str = "COVID-19-CT-Seg";

/// What others published of it.
pub(super) struct Published {
    /// The method, and where its figure is told.
    pub(super) name: &'static str,
    /// Dice of the infection, mean over cases, in percent.
    pub(super) dice: f64,
    /// How it was cross-validated.
    pub(super) folds: &'static str,
}

/// Cross-validations of the 20 cases.
pub(super) static PUBLISHED: [Published; 3] = [
    Published {
        name: "nnU-Net 2D (COVID-19-CT-Seg-Benchmark)",
        dice: 60.9,
        folds: "5, of 4 training and 16 test cases",
    },
    Published {
        name: "nnU-Net 3D (COVID-19-CT-Seg-Benchmark)",
        dice: 67.3,
        folds: "5, of 4 training and 16 test cases",
    },
    Published { name: "3D U-Net, MIScnn (covid19.MIScnn)", dice: 76.1, folds: "5, of 16 training and 4 test cases" },
];

#[cfg(test)]
mod tests {
    use super::*;

    /// The paper's own IoU and Dice belong together in tables IX and X (one figure of pooled pixels, or of one picture); in XI and
    /// XII they do not, as the notes on the paper say.
    #[test]
    fn iou_and_dice_of_a_row_belong_together() {
        let pairs = TRANSFER.iter().map(|row| [row.dice, row.iou]);
        for [dice, iou] in pairs.chain(GRID.iter().flat_map(|row| row.scores)) {
            assert!((iou - dice / (2.0 - dice)).abs() < 1e-3, "{dice} {iou}");
        }
    }
}
