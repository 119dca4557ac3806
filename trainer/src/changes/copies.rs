//! Changed copies of pictures to learn from: which, and what becomes of each.

use serde::{Deserialize, Serialize};
use thorax_nn::seeded;

use super::{Change, random};

/// Which changed copies of pictures are wanted beside the pictures themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::Args)]
pub struct Copies {
    /// Changed copies of each picture that is learnt from or chosen by: greys, sharpness, noise, JPEG, borders, letters, small turns
    #[arg(id = "copies", long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..=100))]
    pub count: u16,
    /// Of the changes
    #[arg(id = "copies_seed", long = "copies-seed", value_name = "SEED", default_value_t = 1)]
    pub seed: u64,
}

/// What becomes of a picture in its copy of this number: a random history of changes that depends on nothing but the picture's hash
/// (`sha256`, hexadecimal), the number, and `seed`; none in copy 0, the picture itself.
pub fn history(sha256: &str, copy: u16, seed: u64) -> Vec<Change> {
    if copy == 0 {
        return vec![];
    }
    let picture = sha256.get(..16).and_then(|hash| u64::from_str_radix(hash, 16).ok()).unwrap_or_default();
    let seed = seeded::derive(seed, &[picture, copy.into()]);
    random(&mut seeded::generator(seed, 0))
}
