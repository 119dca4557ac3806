//! Thresholds of a site's own.
//!
//! A bundle's rule calls an image negative below one probability, positive from another on, and refers what lies between. They were
//! chosen on the images that it was made with; a site's patients may be others. So a site may set both, within bounds which
//! see to it that it only ever makes the device say *less*:
//!
//! - `negative_at` may go down from the bundle's own, to a quarter of it,
//! - `positive_at` may go up from the bundle's own, three quarters of its way to 1.
//!
//! Whatever is decided by them is what the bundle's own rule decides, or *refer*: a refer never becomes a certainty by a
//! threshold, since nobody has shown on images of known truth, of more than one site, that the bundle knows better there. Whoever wants
//! fewer images referred needs a bundle that knows more. And with a quarter left on either side, a device can still say
//! something. Limits of entropy and novelty are the bundle's alone.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};
use thorax_shared::decision::DecisionRule;

use crate::{error::BundlesError, hash::BundleHash};

/// Of the way that a threshold could go, this much is left.
const LEFT: f32 = 0.25;

/// What a site has set, for one bundle. Another bundle's probabilities mean something else, so these are forgotten with theirs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SiteThresholds {
    /// The bundle.
    pub bundle: BundleHash,
    /// In place of [`DecisionRule::negative_at`].
    pub negative_at: f32,
    /// In place of [`DecisionRule::positive_at`].
    pub positive_at: f32,
    /// Who has set them.
    pub by: String,
    /// And why.
    pub why: String,
    /// When, in milliseconds since 1970-01-01 00:00 UTC.
    pub unix_milliseconds: i64,
}

/// The bounds of `negative_at` and of `positive_at` for a bundle's rule.
pub fn allowed(rule: &DecisionRule) -> [RangeInclusive<f32>; 2] {
    [LEFT * rule.negative_at..=rule.negative_at, rule.positive_at..=1.0 - LEFT * (1.0 - rule.positive_at)]
}

impl SiteThresholds {
    /// The rule by which the bundle decides at this site.
    ///
    /// # Errors
    /// [`BundlesError::Thresholds`] when one is out of its [bounds](allowed).
    pub fn apply(&self, rule: &DecisionRule) -> Result<DecisionRule, BundlesError> {
        let [negative, positive] = allowed(rule);
        for (name, value, bounds) in
            [("negative_at", self.negative_at, negative), ("positive_at", self.positive_at, positive)]
        {
            if !bounds.contains(&value) {
                let (least, most) = bounds.into_inner();
                let cause = format!("{name} {value} is not within {least:.4} to {most:.4}, the bounds for this bundle");
                return Err(BundlesError::Thresholds(cause));
            }
        }
        Ok(DecisionRule { negative_at: self.negative_at, positive_at: self.positive_at, ..*rule })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use thorax_shared::{
        decision::Evidence,
        verdict::{ReferReason, Verdict},
    };

    const RULE: DecisionRule = DecisionRule {
        positive_at: 0.6,
        negative_at: 0.4,
        entropy_limit_bits: 0.9,
        novelty_refer: 2.0,
        novelty_reject: 4.0,
    };

    fn set(negative_at: f32, positive_at: f32) -> SiteThresholds {
        let (by, why) = ("Ada".into(), "local truth".into());
        SiteThresholds { bundle: BundleHash([1; 32]), negative_at, positive_at, by, why, unix_milliseconds: 0 }
    }

    #[test]
    fn the_bounds_are_those_that_are_documented() {
        for (negative_at, positive_at) in [(0.4, 0.6), (0.1, 0.6), (0.4, 0.9), (0.1, 0.9), (0.2, 0.7)] {
            let rule = set(negative_at, positive_at).apply(&RULE).unwrap();
            rule.validate().unwrap();
            assert_eq!(rule, DecisionRule { negative_at, positive_at, ..RULE });
        }
        for (negative_at, positive_at) in [
            (0.4f32.next_up(), 0.6),
            (0.4, 0.6f32.next_down()),
            (0.1f32.next_down(), 0.6),
            (0.4, 0.91),
            (f32::NAN, 0.6),
            (0.4, f32::NAN),
        ] {
            let told = set(negative_at, positive_at).apply(&RULE).unwrap_err().to_string();
            assert!(told.contains("bounds") && told.contains("another bundle"), "{told}");
        }
    }

    proptest! {
        /// Over any bundle's rule, any thresholds that a site may set, and any image.
        #[test]
        fn a_site_s_thresholds_make_no_certainty_of_a_refer(
            negative_at in 0f32..=1.0, up in 0f32..=1.0, low in 0f32..=1.0, high in 0f32..=1.0,
            probability in 0f32..=1.0, entropy_bits in 0f32..=1.0, novelty in 0f32..=5.0,
        ) {
            let rule = DecisionRule { negative_at, positive_at: (negative_at + up * (1.0 - negative_at)).min(1.0), ..RULE };
            let within = |bounds: RangeInclusive<f32>, at: f32| {
                (bounds.start() + at * (bounds.end() - bounds.start())).clamp(*bounds.start(), *bounds.end())
            };
            let [negative, positive] = allowed(&rule);
            let site = set(within(negative, low), within(positive, high)).apply(&rule).unwrap();
            prop_assert!(site.validate().is_ok());
            let evidence = Evidence { probability, entropy_bits, novelty };
            let (own, sites) = (rule.decide(&evidence), site.decide(&evidence));
            prop_assert!(sites == own || sites == Verdict::Refer(ReferReason::AbstainZone), "{own:?} became {sites:?}");
        }
    }
}
