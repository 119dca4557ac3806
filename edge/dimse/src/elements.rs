//! Elements of data sets that are short and of a known form, such as questions and answers: read in memory, with bounds on how deep
//! sequences lie within each other. Images are read by `dicom-object`.

/// Sequences within sequences.
const MOST_DEPTH: usize = 8;
pub(crate) const UNDEFINED: u32 = u32::MAX;

pub(crate) type Tag = (u16, u16);
pub(crate) const FAILED_SOP_SEQUENCE: Tag = (0x0008, 0x1198);
pub(crate) const REFERENCED_SOP_SEQUENCE: Tag = (0x0008, 0x1199);
pub(crate) const SCHEDULED_PROCEDURE_STEP_SEQUENCE: Tag = (0x0040, 0x0100);
/// The sequences whose items are looked at; in Implicit VR nothing else tells a sequence of defined length from text.
const SEQUENCES: [Tag; 3] = [FAILED_SOP_SEQUENCE, REFERENCED_SOP_SEQUENCE, SCHEDULED_PROCEDURE_STEP_SEQUENCE];
pub(crate) const ITEM: Tag = (0xfffe, 0xe000);
const ITEM_END: Tag = (0xfffe, 0xe00d);
const SEQUENCE_END: Tag = (0xfffe, 0xe0dd);

/// Elements of a data set that is in memory, Little Endian.
pub(crate) struct Elements<'d> {
    rest: &'d [u8],
    implicit: bool,
    depth: usize,
}

pub(crate) enum Value<'d> {
    Bytes(&'d [u8]),
    Items(Vec<&'d [u8]>),
}

const CUT: &str = "a data set that is cut short";

impl<'d> Elements<'d> {
    /// Of a data set in Implicit or Explicit VR Little Endian.
    pub(crate) fn new(rest: &'d [u8], implicit: bool) -> Self {
        Self { rest, implicit, depth: 0 }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    fn bytes(&mut self, count: u32) -> Result<&'d [u8], &'static str> {
        let count = usize::try_from(count).map_err(|_| CUT)?;
        let (bytes, rest) = self.rest.split_at_checked(count).ok_or(CUT)?;
        self.rest = rest;
        Ok(bytes)
    }

    fn short(&mut self) -> Result<u16, &'static str> {
        self.bytes(2)?.try_into().map(u16::from_le_bytes).map_err(|_| CUT)
    }

    fn long(&mut self) -> Result<u32, &'static str> {
        self.bytes(4)?.try_into().map(u32::from_le_bytes).map_err(|_| CUT)
    }

    fn tag(&mut self) -> Result<Tag, &'static str> {
        Ok((self.short()?, self.short()?))
    }

    /// The next element, with its value or the items of its sequence.
    pub(crate) fn element(&mut self) -> Result<(Tag, Value<'d>), &'static str> {
        let tag = self.tag()?;
        if tag.0 == ITEM.0 {
            return Ok((tag, Value::Bytes(self.long().map(|_| &[][..])?)));
        }
        let mut is_sequence = SEQUENCES.contains(&tag);
        let length = if self.implicit {
            self.long()?
        } else {
            let vr = self.bytes(2)?;
            is_sequence = vr == b"SQ";
            match vr {
                b"OB" | b"OD" | b"OF" | b"OL" | b"OV" | b"OW" | b"SQ" | b"SV" | b"UC" | b"UN" | b"UR" | b"UT"
                | b"UV" => {
                    self.short()?;
                    self.long()?
                }
                _ => u32::from(self.short()?),
            }
        };
        if length == UNDEFINED {
            return Ok((tag, Value::Items(self.items()?)));
        }
        let bytes = self.bytes(length)?;
        if !is_sequence {
            return Ok((tag, Value::Bytes(bytes)));
        }
        let mut inner = self.inner(bytes)?;
        let mut items = vec![];
        while !inner.rest.is_empty() {
            items.push(inner.item()?.ok_or("a sequence that ends early")?);
        }
        Ok((tag, Value::Items(items)))
    }

    pub(crate) fn inner(&self, rest: &'d [u8]) -> Result<Self, &'static str> {
        if self.depth == MOST_DEPTH {
            return Err("sequences nested too deeply");
        }
        Ok(Self { rest, implicit: self.implicit, depth: self.depth + 1 })
    }

    /// The items of a sequence of undefined length.
    fn items(&mut self) -> Result<Vec<&'d [u8]>, &'static str> {
        let mut inner = self.inner(self.rest)?;
        let mut items = vec![];
        while let Some(item) = inner.item()? {
            items.push(item);
        }
        self.rest = inner.rest;
        Ok(items)
    }

    /// The next item; `None` at the end of the sequence.
    fn item(&mut self) -> Result<Option<&'d [u8]>, &'static str> {
        match (self.tag()?, self.long()?) {
            (SEQUENCE_END, _) => Ok(None),
            (ITEM, UNDEFINED) => {
                let begin = self.rest;
                let mut inner = self.inner(begin)?;
                loop {
                    let end = begin.len() - inner.rest.len();
                    if inner.element()?.0 == ITEM_END {
                        self.rest = inner.rest;
                        return Ok(Some(&begin[..end]));
                    }
                }
            }
            (ITEM, length) => self.bytes(length).map(Some),
            _ => Err("a sequence of what is no item"),
        }
    }
}

/// An element in Implicit VR Little Endian.
pub(crate) fn element((group, number): Tag, value: &[u8]) -> Vec<u8> {
    let length = u32::try_from(value.len()).unwrap_or(u32::MAX);
    [&group.to_le_bytes()[..], &number.to_le_bytes(), &length.to_le_bytes(), value].concat()
}
