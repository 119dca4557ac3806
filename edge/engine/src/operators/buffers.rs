//! Tensors that are written again, in the same run and in the next.
//!
//! tract drops a value when its last reader has run, but what it drops is only its own hold on the tensor: the other is here. So a
//! tensor that nobody else holds is free, and after a few runs no operator of ours asks for memory. Of those that are free the one that was
//! written last comes first, since it is still in the cache.

use std::sync::{Arc, Mutex, PoisonError};

use tract_onnx::tract_core::internal::*;

const FREE: &str = "a buffer that is free has no other user";

/// Who reads a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Readers {
    /// Operators of ours alone, which never look at its memory beyond its values: it may be larger.
    Ours,
    Anybody,
}

/// A tensor, and for how many values it was made.
#[derive(Debug)]
struct Buffer {
    tensor: Arc<Tensor>,
    room: usize,
}

/// The tensors of one graph. A copy shares them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Buffers(Arc<Mutex<Vec<Buffer>>>);

impl Buffers {
    /// A tensor that nobody else holds; what is in it is from before, or zero.
    fn take(&self, datum_type: DatumType, shape: &[usize], readers: Readers) -> TractResult<Buffer> {
        let length: usize = shape.iter().product();
        let free = |Buffer { tensor, room }: &Buffer| {
            let fits = if readers == Readers::Ours { *room >= length } else { *room == length };
            fits && Arc::strong_count(tensor) == 1 && tensor.datum_type() == datum_type
        };
        let found = {
            let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            kept.iter().rposition(free).map(|index| kept.remove(index))
        };
        let Some(mut buffer) = found else {
            return Ok(Buffer { tensor: Tensor::zero_dt(datum_type, shape)?.into_arc_tensor(), room: length });
        };
        let tensor = Arc::get_mut(&mut buffer.tensor).context(FREE)?;
        // SAFETY: the memory was made for `room` values of this type, and the shape has no more. All of them were written when it was made, so none
        // is uninitialized. Memory that is larger than the shape goes to operators of ours alone (`know_readers`), who take a slice of the shape's
        // length; tract's `Tensor::deep_clone`, which a tract operator may call, would copy all of it into memory made for the shape.
        #[allow(unsafe_code)]
        unsafe {
            tensor.set_shape_unchecked(shape);
        }
        Ok(buffer)
    }

    /// Keeps a hold on the tensor of `buffer`, which others may hold too.
    fn keep(&self, buffer: Buffer) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(buffer);
    }

    /// A tensor that `write` has written, of which a hold is kept; before, what is in it is from earlier, or zero.
    pub(super) fn written(
        &self,
        datum_type: DatumType,
        shape: &[usize],
        readers: Readers,
        write: impl FnOnce(&mut Tensor) -> TractResult<()>,
    ) -> TractResult<Arc<Tensor>> {
        let mut buffer = self.take(datum_type, shape, readers)?;
        write(Arc::get_mut(&mut buffer.tensor).context(FREE)?)?;
        let tensor = buffer.tensor.clone();
        self.keep(buffer);
        Ok(tensor)
    }

    /// A tensor of these values, of which a hold is kept.
    pub(crate) fn filled(&self, shape: &[usize], values: &[f32]) -> TractResult<Arc<Tensor>> {
        ensure!(shape.iter().product::<usize>() == values.len(), "{} values are no {shape:?}", values.len());
        self.written(f32::datum_type(), shape, Readers::Anybody, |tensor| {
            tensor.try_as_plain_ram_mut()?.as_slice_mut::<f32>()?.copy_from_slice(values);
            Ok(())
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_is_free_is_used_again_where_it_fits() {
        let buffers = Buffers::default();
        let take = |shape: &[usize], readers| buffers.take(f32::datum_type(), shape, readers).unwrap();
        let place = |buffer: &Buffer| buffer.tensor.as_bytes().as_ptr();
        let large = take(&[1, 4, 4, 3], Readers::Ours);
        let (at, held) = (place(&large), large.tensor.clone());
        buffers.keep(large);
        // Somebody holds it.
        let other = take(&[1, 2, 2, 3], Readers::Ours);
        assert_ne!(place(&other), at);
        drop(held);
        // Larger memory is nothing for others, nor for another type.
        assert_ne!(place(&take(&[1, 2, 2, 3], Readers::Anybody)), at);
        assert_ne!(
            buffers.take(i32::datum_type(), &[1, 4, 4, 3], Readers::Ours).unwrap().tensor.as_bytes().as_ptr(),
            at
        );
        let mut small = take(&[1, 2, 2, 3], Readers::Ours);
        assert_eq!(place(&small), at);
        let tensor = Arc::get_mut(&mut small.tensor).unwrap();
        assert_eq!((tensor.shape(), tensor.len()), (&[1, 2, 2, 3][..], 12));
        tensor.try_as_plain_ram_mut().unwrap().as_slice_mut::<f32>().unwrap().fill(1.0);
        buffers.keep(small);
        // It has as much room as before.
        let again = take(&[48], Readers::Anybody);
        assert_eq!((place(&again), again.tensor.len()), (at, 48));
        // A larger one than there is, is made.
        buffers.keep(again);
        assert_ne!(place(&take(&[49], Readers::Ours)), at);
    }
}
