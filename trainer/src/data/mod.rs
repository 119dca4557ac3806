//! Temporary reader until the data module lands.
use std::path::{Path, PathBuf};
use thorax_shared::label::Modality;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split { Train, Val, Test }
impl std::fmt::Display for Split { fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.write_str(match self { Self::Train=>"train", Self::Val=>"val", Self::Test=>"test" }) } }
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task { Classify, Segment }
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Label { Negative, Positive, Unlabelled }
#[derive(Clone, Debug)]
pub struct Record { pub path: PathBuf, pub modality: Modality, pub task: Task, pub label: Label, pub patient_id: String, pub group: String, pub source: String, pub split: Split, pub mask: Option<PathBuf>, pub lung_masks: Vec<PathBuf>, pub sha256: String }
pub struct Manifest { pub records: Vec<Record>, pub root: PathBuf }
impl Manifest {
    pub fn resolve(&self, p: &Path) -> PathBuf { self.root.join(p) }
    pub fn load(path: &Path) -> anyhow::Result<Self> {
        let root = path.parent().unwrap().to_path_buf();
        let mut records = vec![];
        let mut reader = csv::Reader::from_path(path)?;
        let h = reader.headers()?.clone();
        let col = |n: &str| h.iter().position(|x| x == n).unwrap();
        for r in reader.records() {
            let r = r?;
            let g = |n: &str| r[col(n)].to_string();
            let class = g("class");
            let (task, label) = match class.as_str() { "covid" => (Task::Classify, Label::Positive), "normal" | "other" => (Task::Classify, Label::Negative), "covid-seg" | "xray-seg" => (Task::Segment, Label::Unlabelled), _ => continue };
            let p = g("path");
            if !(p.ends_with(".png") || p.ends_with(".jpg") || p.ends_with(".jpeg")) { continue; }
            let m = g("mask"); let l = g("lung_mask");
            let sha256 = { use sha2::Digest; sha2::Sha256::digest(std::fs::read(root.join(&p))?).iter().map(|b| format!("{b:02x}")).collect() };
            records.push(Record { path: p.into(), modality: if g("modality") == "xray" { Modality::Xray } else { Modality::Ct }, task, label, patient_id: g("patient_id"), group: g("group"), source: g("source"), split: match g("split").as_str() { "train" => Split::Train, "val" => Split::Val, _ => Split::Test }, mask: (!m.is_empty()).then(|| m.into()), lung_masks: l.split(';').filter(|s| !s.is_empty()).map(|s| s.into()).collect(), sha256 });
        }
        Ok(Self { records, root })
    }
}
