//! The built programs, seen from outside: files and arguments in; files, text and exit codes out.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bundles;
mod disease;
mod display;
mod distill;
mod explain;
mod features;
mod formats;
mod instances;
mod integers;
mod limits;
mod lungs_alone;
mod made;
mod masks;
mod masks_predict;
mod one_net;
mod refusals;
mod screen;
mod serve;
mod shared_material;
mod sides;
mod stress;
mod sweep;
mod trainer;
mod volumes;
mod without_xgboost;
