//! The paper's eight classifiers on un-pooled features, each fitted a hundred times (sections IV.A, V and VII.A).

pub mod adaboost;
pub mod bins;
pub mod forest;
mod run;
pub mod xgboost;

pub use run::{Kind, Run};
