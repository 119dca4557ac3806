//! The paper's tables V to VIII, as printed.

use thorax_nets::{Backbone, source::are_drawn};
use thorax_shared::modality::Modality;

use crate::{classifiers::Kind, features::Extractor, judge::classifiers::Judgement};

/// One of the paper's tables of classifiers.
pub(super) struct PaperTable {
    /// Its number in the paper.
    pub(super) number: &'static str,
    modality: Modality,
    backbone: Backbone,
    /// In percent, in the order of [`Kind::ALL`]: accuracy, F1, recall, precision, specificity.
    rows: [[f64; 5]; 8],
}

impl PaperTable {
    /// The table of these pictures and features; the paper used two backbones.
    fn of(modality: Modality, extractor: Extractor) -> Option<&'static Self> {
        TABLES.iter().find(|table| table.modality == modality && extractor == table.backbone.into())
    }

    /// The table that stands beside what was judged; none beside drawn weights, which have seen no picture.
    pub(super) fn beside(judgement: &Judgement) -> Option<&'static Self> {
        Self::of(judgement.modality, judgement.backbone).filter(|_| !are_drawn(&judgement.weights))
    }

    /// Accuracy, F1, recall, precision, specificity of a classifier, in percent.
    pub(super) fn figures(&self, kind: Kind) -> Option<&[f64; 5]> {
        Kind::ALL.iter().position(|&other| other == kind).map(|row| &self.rows[row])
    }

    /// The highest accuracy, in percent.
    pub(super) fn best_accuracy(&self) -> f64 {
        self.rows.iter().map(|row| row[0]).fold(0.0, f64::max)
    }
}

/// Digits as printed; some columns are equal to the last of them, which the paper does not explain.
static TABLES: [PaperTable; 4] = [
    PaperTable {
        number: "V",
        modality: Modality::Ct,
        backbone: Backbone::ResNet50,
        rows: [
            [91.237_837_63, 91.237_837_63, 91.453_333_33, 91.897_012_93, 92.098_736_21],
            [92.343_109_92, 92.343_109_92, 92.383_333_33, 93.129_830_43, 93.467_812_30],
            [89.973_546_72, 89.973_546_72, 88.666_666_67, 89.786_379_82, 90.009_621_21],
            [95.764_367_21, 95.764_367_21, 95.5, 96.673_792_91, 96.973_612_31],
            [90.231_234_23, 90.231_234_23, 89.833_333_33, 90.375_993_91, 90.781_123_42],
            [87.636_927_12, 87.636_927_12, 85.133_333_33, 86.593_028_93, 86.913_417_43],
            [90.333_333_33, 90.333_333_33, 90.666_666_67, 91.948_090_93, 92.003_416_74],
            [94.083_333_33, 94.083_333_33, 93.5, 94.980_980_12, 95.169_343_13],
        ],
    },
    PaperTable {
        number: "VI",
        modality: Modality::Ct,
        backbone: Backbone::InceptionResNetV2,
        rows: [
            [79.25, 78.361_928_73, 75.129_872_31, 77.297_908_92, 81.298_729_80],
            [80.125, 79.128_788_90, 79.092_819_23, 79.289_787_12, 82.987_012_93],
            [81.5, 80.874_658_23, 79.990_982_11, 80.127_987_90, 83.827_890_72],
            [85.437_5, 84.838_738_47, 83.449_098_12, 84.009_821_31, 87.187_312_91],
            [81.125, 80.287_737_11, 79.128_701_92, 77.189_127_31, 82.893_798_42],
            [81.437_5, 80.127_347_21, 80.839_102_12, 75.128_379_12, 83.289_721_31],
            [45.5, 53.348_347_89, 71.287_317_89, 41.761_872_36, 50.238_162_31],
            [84.25, 83.348_937_41, 83.128_098_21, 84.297_320_18, 87.213_798_71],
        ],
    },
    PaperTable {
        number: "VII",
        modality: Modality::Xray,
        backbone: Backbone::ResNet50,
        rows: [
            [85.833_333_33, 85.129_387_91, 85.129_387_91, 85.129_387_91, 83.675_876_67],
            [86.833_333_33, 85.823_982_13, 85.823_982_13, 85.823_982_13, 82.937_490_13],
            [79.166_666_67, 78.343_098_73, 78.343_098_73, 78.343_098_73, 75.237_928_17],
            [88.5, 88.109_828_38, 88.109_828_38, 88.109_828_38, 87.290_138_21],
            [80.166_666_67, 79.781_908_23, 79.781_908_23, 79.781_908_23, 78.218_310_98],
            [79.5, 78.239_827_30, 78.239_827_30, 78.239_827_30, 79.213_978_30],
            [75.166_666_67, 73.738_979_01, 73.738_979_01, 73.738_979_01, 72.239_812_90],
            [87.833_333_33, 85.343_108_09, 85.343_108_09, 85.343_108_09, 85.098_301_29],
        ],
    },
    PaperTable {
        number: "VIII",
        modality: Modality::Xray,
        backbone: Backbone::InceptionResNetV2,
        rows: [
            [75.833_333_33, 75.230_981_30, 75.230_981_30, 75.230_981_30, 75.230_981_30],
            [76.833_333_33, 76.129_382_14, 76.129_382_14, 76.129_382_14, 76.129_382_14],
            [78.166_666_67, 77.318_401_23, 77.318_401_23, 77.318_401_23, 77.318_401_23],
            [80.666_666_67, 78.390_481_01, 78.390_481_01, 78.390_481_01, 78.390_481_01],
            [73.333_333_33, 71.092_319_08, 71.092_319_08, 71.092_319_08, 71.092_319_08],
            [69.677_777_77, 65.213_980_92, 65.213_980_92, 65.213_980_92, 65.213_980_92],
            [62.333_333_33, 59.219_309_34, 59.219_309_34, 59.219_309_34, 59.219_309_34],
            [79.166_666_67, 76.347_893_41, 76.347_893_41, 76.347_893_41, 76.347_893_41],
        ],
    },
];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn tables_are_found_by_pictures_and_features() {
        let found = |modality, backbone: Backbone| PaperTable::of(modality, backbone.into()).map(|table| table.number);
        assert_eq!(found(Modality::Ct, Backbone::ResNet50), Some("V"));
        assert_eq!(found(Modality::Ct, Backbone::InceptionResNetV2), Some("VI"));
        assert_eq!(found(Modality::Xray, Backbone::ResNet50), Some("VII"));
        assert_eq!(found(Modality::Xray, Backbone::InceptionResNetV2), Some("VIII"));
        assert_eq!(found(Modality::Ct, Backbone::EfficientNetB(0)), None);
    }

    /// The figures that the paper's text names: best on CT and on films, and the row that is last in each table.
    #[test]
    fn rows_belong_to_their_classifiers() {
        let figures = |modality, backbone: Backbone, kind| {
            PaperTable::of(modality, backbone.into()).unwrap().figures(kind).unwrap()
        };
        assert_eq!(figures(Modality::Ct, Backbone::ResNet50, Kind::Mlp)[0], 95.764_367_21);
        assert_eq!(figures(Modality::Xray, Backbone::ResNet50, Kind::Mlp)[0], 88.5);
        assert_eq!(figures(Modality::Ct, Backbone::InceptionResNetV2, Kind::NaiveBayes)[2], 71.287_317_89);
        assert_eq!(figures(Modality::Xray, Backbone::InceptionResNetV2, Kind::Xgboost)[4], 76.347_893_41);
    }
}
