//! Where a picture or a mask lies: a file, and of that, where it is a volume, one slice, or some labels.
//!
//! | written | is |
//! |---|---|
//! | `films/0001.png` | a file |
//! | `scans/7.nii.gz#slice=120` | an axial slice of a volume, by its place in the file, counted from 0 |
//! | `labels/7.nii.gz#label=3` | of a mask what has the value 3 |
//! | `labels/7.nii.gz#label=3+4` | what has one of these values |
//!
//! A mask without a slice belongs to the whole of its picture: of a volume's slice it is the slice that lies there.

use std::fmt;

/// A file, and what of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address<'a> {
    /// The file, as the manifest names it.
    pub file: &'a str,
    /// Which axial slice, by its place in the file, counted from 0.
    pub slice: Option<usize>,
    /// Which values are marked; empty where [`Foreground`](super::mask::Foreground) says it.
    pub labels: Vec<u16>,
}

impl<'a> Address<'a> {
    /// Reads what a manifest names. What is none of the forms above is a file's name, `#` or not.
    pub fn of(written: &'a str) -> Self {
        let whole = Self { file: written, slice: None, labels: vec![] };
        let Some((file, what)) = written.rsplit_once('#') else { return whole };
        if let Some(slice) = what.strip_prefix("slice=").and_then(|slice| slice.parse().ok()) {
            return Self { file, slice: Some(slice), ..whole };
        }
        let labels = what.strip_prefix("label=").map(|labels| labels.split('+').map(str::parse).collect());
        match labels {
            Some(Ok(labels)) => Self { file, labels, ..whole },
            _ => whole,
        }
    }

    /// Slice number `slice` of the volume `file`.
    pub fn slice(file: &'a str, slice: usize) -> Self {
        Self { file, slice: Some(slice), labels: vec![] }
    }

    /// What has one of the values `labels` in the mask `file`; all that is marked where there are none.
    pub fn labels(file: &'a str, labels: Vec<u16>) -> Self {
        Self { file, slice: None, labels }
    }
}

/// Whether a file is a volume, by its name; an address with a slice is none.
pub(super) fn is_volume(file: &str) -> bool {
    let name = file.to_ascii_lowercase();
    name.ends_with(".nii") || name.ends_with(".nii.gz")
}

/// As [`Address::of`] reads it.
impl fmt::Display for Address<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file)?;
        if let Some(slice) = self.slice {
            write!(f, "#slice={slice}")?;
        }
        let labels: Vec<String> = self.labels.iter().map(u16::to_string).collect();
        if labels.is_empty() { Ok(()) } else { write!(f, "#label={}", labels.join("+")) }
    }
}

/// What a picture's content is known by: the hash of its file, and of a slice its number as well.
pub fn content(path: &str, sha256: &str) -> String {
    match Address::of(path).slice {
        Some(slice) => format!("{sha256}#slice={slice}"),
        None => sha256.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_they_are_written() {
        for (written, file, slice, labels) in [
            ("a.png", "a.png", None, &[][..]),
            ("v/a.nii.gz#slice=12", "v/a.nii.gz", Some(12), &[]),
            ("v/a.nii.gz#label=3", "v/a.nii.gz", None, &[3]),
            ("v/a.nii.gz#label=1+2", "v/a.nii.gz", None, &[1, 2]),
            ("odd#1.png", "odd#1.png", None, &[]),
            ("odd#slice=one", "odd#slice=one", None, &[]),
            ("odd#label=", "odd#label=", None, &[]),
        ] {
            let address = Address::of(written);
            assert_eq!(address, Address { file, slice, labels: labels.to_vec() });
            assert_eq!(address.to_string(), written);
        }
        assert_eq!(content("a.png", "ab"), "ab");
        assert_ne!(content("a.nii#slice=1", "ab"), content("a.nii#slice=2", "ab"));
    }
}
