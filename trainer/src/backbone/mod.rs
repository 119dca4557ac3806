//! A backbone that learns: from labels, or from teachers.
//!
//! The published weights know photographs. Fine-tuned on films, and on copies of them that were changed as files are changed on their
//! way, a backbone sees what films differ in and not how they were stored. It learns with a small ensemble of heads behind it, each on
//! its own resample of the patients ([`net`], [`pictures`]). With [`teachers`], each head learns what one member of theirs says instead:
//! the student keeps the members apart, and with them what they doubt (Hydra, Tran et al. 2020, arXiv 2001.04694). Beside labels it may learn
//! where [`lesions`] lie.
//!
//! What is left is a file of weights ([`run::WEIGHTS`]) with the published file's names, so that features are extracted, heads are
//! fitted and bundles are built with it as with any other.

pub mod fold;
pub mod lesions;
pub mod net;
pub mod pictures;
pub mod run;
pub mod teachers;
#[cfg(test)]
mod tests;
pub mod train;
