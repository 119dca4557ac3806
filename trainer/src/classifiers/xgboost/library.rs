//! XGBoost's library through its C interface (`xgboost/c_api.h`), and all unsafe code that this takes.
//!
//! Handles are values that free themselves, and borrow the library. Each function's type is copied from the header, and has
//! been the same since version 2.0, the oldest that is let in.
#![allow(unsafe_code)]

use std::{
    ffi::{CStr, CString, c_char, c_int, c_void},
    fmt::Display,
    mem::ManuallyDrop,
    ops::Range,
    path::Path,
    ptr::{null, null_mut},
};

use super::XgboostError;

/// `DMatrixHandle`, `BoosterHandle`, `DataIterHandle`.
type Handle = *mut c_void;
type Next = unsafe extern "C" fn(Handle) -> c_int;
type Reset = unsafe extern "C" fn(Handle);

macro_rules! functions {
    ($($name:ident: fn($($argument:ty),*) $(-> $result:ty)?;)*) => {
        #[allow(non_snake_case)]
        struct Functions { $($name: unsafe extern "C" fn($($argument),*) $(-> $result)?,)* }

        impl Functions {
            fn of(library: &libloading::Library) -> Result<Self, libloading::Error> {
                // SAFETY: these are the types that the header declares for the functions of these names. The pointers are
                // used through `Library` only, which never unloads the code they point to.
                Ok(Self { $($name: unsafe { *library.get(concat!(stringify!($name), "\0").as_bytes())? },)* })
            }
        }
    };
}

functions! {
    XGBoostVersion: fn(*mut c_int, *mut c_int, *mut c_int);
    XGBGetLastError: fn() -> *const c_char;
    XGProxyDMatrixCreate: fn(*mut Handle) -> c_int;
    XGProxyDMatrixSetDataDense: fn(Handle, *const c_char) -> c_int;
    XGQuantileDMatrixCreateFromCallback: fn(Handle, Handle, Handle, Reset, Next, *const c_char, *mut Handle) -> c_int;
    XGDMatrixSetInfoFromInterface: fn(Handle, *const c_char, *const c_char) -> c_int;
    XGDMatrixFree: fn(Handle) -> c_int;
    XGBoosterCreate: fn(*const Handle, u64, *mut Handle) -> c_int;
    XGBoosterSetParam: fn(Handle, *const c_char, *const c_char) -> c_int;
    XGBoosterUpdateOneIter: fn(Handle, c_int, Handle) -> c_int;
    XGBoosterPredictFromDMatrix:
        fn(Handle, Handle, *const c_char, *mut *const u64, *mut u64, *mut *const f32) -> c_int;
    XGBoosterFree: fn(Handle) -> c_int;
}

/// XGBoost, loaded.
pub(crate) struct Library {
    functions: Functions,
    version: [c_int; 3],
    /// Never unloaded: threads of OpenMP may be in its code until the process ends.
    _library: ManuallyDrop<libloading::Library>,
}

impl Library {
    /// Loads the library at `path`, and checks its version.
    pub(super) fn load(path: &Path) -> Result<Self, XgboostError> {
        let missing =
            |reason: libloading::Error| XgboostError::Missing { path: path.to_owned(), reason: reason.to_string() };
        // SAFETY: loading runs the initialisers of the library and of the OpenMP library it needs. They set up their own
        // memory only; the user says by the path that it is XGBoost, and nobody can check that before.
        let library = unsafe { libloading::Library::new(path) }.map_err(missing)?;
        let functions = Functions::of(&library).map_err(missing)?;
        let mut version = [0; 3];
        let [major, minor, patch] = &mut version;
        // SAFETY: three places to write a number to, which outlive the call.
        unsafe { (functions.XGBoostVersion)(major, minor, patch) };
        if version[0] < 2 {
            return Err(XgboostError::Version { path: path.to_owned(), found: written(version) });
        }
        Ok(Self { functions, version, _library: ManuallyDrop::new(library) })
    }

    /// Its version, such as `3.2.0`.
    pub(crate) fn version(&self) -> String {
        written(self.version)
    }

    fn check(&self, what: &'static str, code: c_int) -> Result<(), XgboostError> {
        if code == 0 {
            return Ok(());
        }
        // SAFETY: gives the calling thread's last error, a string that ends with NUL and lives until the thread's next call.
        let reason = unsafe {
            let text = (self.functions.XGBGetLastError)();
            if text.is_null() { "no reason".into() } else { CStr::from_ptr(text).to_string_lossy() }
        };
        // Behind the first line is the library's stack.
        Err(XgboostError::Failed { what, reason: reason.lines().next().unwrap_or_default().to_owned() })
    }

    /// A matrix of `rows` x `columns` bytes, cut at up to `max_bin` places, or where `like` is. `fill` puts a range of rows
    /// into a buffer, one row after the other; it is asked for all rows, several times.
    pub(super) fn matrix<'a>(
        &'a self,
        [rows, columns]: [usize; 2],
        max_bin: usize,
        threads: usize,
        like: Option<&Matrix<'_>>,
        fill: impl FnMut(Range<usize>, &mut [u8]),
    ) -> Result<Matrix<'a>, XgboostError> {
        let what = "making its matrix";
        let mut proxy = Matrix { library: self, handle: null_mut() };
        // SAFETY: a place to write the handle to; `Matrix` frees it.
        self.check(what, unsafe { (self.functions.XGProxyDMatrixCreate)(&mut proxy.handle) })?;
        let mut batches = Batches { proxy: &proxy, rows, columns, next: 0, buffer: Vec::new(), fill, failure: None };
        let (next, reset) = callbacks(&batches);
        let config = text(format!(r#"{{"missing":NaN,"nthread":{threads},"max_bin":{max_bin}}}"#));
        let mut matrix = Matrix { library: self, handle: null_mut() };
        // SAFETY: the callbacks get the pointer to `batches`, which they take it for; it is used by nobody else during the
        // call, and the library calls them on this thread and does not keep the pointer, nor that to the proxy, beyond the
        // call. All handles are live; no `like` is a null pointer, as documented. The string ends with NUL.
        let code = unsafe {
            (self.functions.XGQuantileDMatrixCreateFromCallback)(
                (&raw mut batches).cast(),
                proxy.handle,
                like.map_or(null_mut(), |matrix| matrix.handle),
                reset,
                next,
                config.as_ptr(),
                &mut matrix.handle,
            )
        };
        batches.failure.map_or(Ok(()), Err)?;
        self.check(what, code)?;
        Ok(matrix)
    }
}

fn written([major, minor, patch]: [c_int; 3]) -> String {
    format!("{major}.{minor}.{patch}")
}

/// A string that ends with NUL; what could be NUL in it is left out.
fn text(text: impl Display) -> CString {
    CString::new(text.to_string().replace('\0', "")).unwrap_or_default()
}

/// numpy's array interface of values in memory, by which XGBoost takes arrays.
fn interface<T>(values: &[T], kind: &str, shape: &[usize]) -> CString {
    debug_assert_eq!(values.len(), shape.iter().product::<usize>());
    let address = values.as_ptr() as usize;
    text(format!(r#"{{"data":[{address},true],"shape":{shape:?},"typestr":"{kind}","version":3}}"#))
}

/// Rows of a batch.
const BATCH: usize = 256;

/// What the library's iteration over batches of rows looks at.
struct Batches<'a, F> {
    proxy: &'a Matrix<'a>,
    rows: usize,
    columns: usize,
    next: usize,
    /// The last batch, which the proxy refers to until the next one.
    buffer: Vec<u8>,
    fill: F,
    failure: Option<XgboostError>,
}

/// The callbacks for `Batches<F>` of this F.
fn callbacks<F: FnMut(Range<usize>, &mut [u8])>(_: &Batches<'_, F>) -> (Next, Reset) {
    (next::<F>, reset::<F>)
}

/// Gives the proxy the next batch; 0 when there is none.
///
/// # Safety
/// `batches` points to a live `Batches<F>` that is borrowed nowhere else.
unsafe extern "C" fn next<F: FnMut(Range<usize>, &mut [u8])>(batches: Handle) -> c_int {
    // SAFETY: the caller's promise. A panic ends the process, as in every `extern "C"`.
    let batches = unsafe { &mut *batches.cast::<Batches<'_, F>>() };
    let range = batches.next..(batches.next + BATCH).min(batches.rows);
    if range.is_empty() || batches.failure.is_some() {
        return 0;
    }
    batches.next = range.end;
    let shape = [range.len(), batches.columns];
    batches.buffer.resize(shape[0] * shape[1], 0);
    (batches.fill)(range, &mut batches.buffer);
    let Matrix { library, handle } = batches.proxy;
    // SAFETY: a live proxy, and an array of the type and shape that is said, in row-major order, which stays where it is until
    // the next call of this function, when the library is done with it.
    let code = unsafe {
        (library.functions.XGProxyDMatrixSetDataDense)(*handle, interface(&batches.buffer, "|u1", &shape).as_ptr())
    };
    batches.failure = library.check("giving it a batch of rows", code).err();
    c_int::from(batches.failure.is_none())
}

/// Begins anew.
///
/// # Safety
/// As for `next`.
unsafe extern "C" fn reset<F>(batches: Handle) {
    // SAFETY: the caller's promise.
    unsafe { (*batches.cast::<Batches<'_, F>>()).next = 0 };
}

/// A `DMatrix`, or a proxy of one.
pub(super) struct Matrix<'a> {
    library: &'a Library,
    handle: Handle,
}

impl Matrix<'_> {
    /// Sets `label` or `weight`, one number a row.
    pub(super) fn set(&mut self, field: &str, values: &[f32]) -> Result<(), XgboostError> {
        // SAFETY: a live matrix, strings that end with NUL, and an array of the type and length that is said; the library
        // copies it, and checks that it is as long as the matrix has rows.
        let code = unsafe {
            (self.library.functions.XGDMatrixSetInfoFromInterface)(
                self.handle,
                text(field).as_ptr(),
                interface(values, "<f4", &[values.len()]).as_ptr(),
            )
        };
        self.library.check("setting labels or weights", code)
    }

    /// A booster to be fitted to this matrix.
    pub(super) fn booster(&self, parameters: &[(&str, String)]) -> Result<Booster<'_>, XgboostError> {
        let mut booster = Booster { matrix: self, handle: null_mut() };
        let functions = &self.library.functions;
        // SAFETY: one live matrix, which the booster borrows, and a place to write the handle to; `Booster` frees it.
        let code = unsafe { (functions.XGBoosterCreate)(&self.handle, 1, &mut booster.handle) };
        self.library.check("making a booster", code)?;
        for (name, value) in parameters {
            // SAFETY: a live booster, and strings that end with NUL.
            let code =
                unsafe { (functions.XGBoosterSetParam)(booster.handle, text(name).as_ptr(), text(value).as_ptr()) };
            self.library.check("setting a parameter", code)?;
        }
        Ok(booster)
    }
}

impl Drop for Matrix<'_> {
    fn drop(&mut self) {
        if !self.handle.is_null() {
            // SAFETY: made by this library, and freed once, here. It fails for null handles only.
            unsafe { (self.library.functions.XGDMatrixFree)(self.handle) };
        }
    }
}

/// A `Booster`, and the matrix it learns from.
pub(super) struct Booster<'a> {
    matrix: &'a Matrix<'a>,
    handle: Handle,
}

impl Booster<'_> {
    /// Adds tree number `round`.
    pub(super) fn update(&mut self, round: usize) -> Result<(), XgboostError> {
        let Matrix { library, handle } = self.matrix;
        // SAFETY: a live booster and the live matrix that it was made with.
        let code = unsafe { (library.functions.XGBoosterUpdateOneIter)(self.handle, round as c_int, *handle) };
        library.check("fitting a tree", code)
    }

    /// The probabilities of the `rows` rows of `matrix`.
    pub(super) fn predict(&mut self, matrix: &Matrix<'_>, rows: usize) -> Result<Vec<f32>, XgboostError> {
        let Matrix { library, handle } = matrix;
        let config = text(r#"{"type":0,"training":false,"iteration_begin":0,"iteration_end":0,"strict_shape":false}"#);
        let (mut shape, mut dimensions, mut values) = (null(), 0, null());
        // SAFETY: live handles, a string that ends with NUL, and places to write two pointers and a number to.
        let code = unsafe {
            (library.functions.XGBoosterPredictFromDMatrix)(
                self.handle,
                *handle,
                config.as_ptr(),
                &mut shape,
                &mut dimensions,
                &mut values,
            )
        };
        library.check("predicting", code)?;
        let shape = if shape.is_null() {
            &[]
        } else {
            // SAFETY: the library has written how many dimensions there are, and where their sizes are.
            unsafe { std::slice::from_raw_parts(shape, dimensions as usize) }
        };
        if values.is_null() || shape != [rows as u64] {
            let reason = format!("it gave probabilities of shape {shape:?} for {rows} rows");
            return Err(XgboostError::Failed { what: "predicting", reason });
        }
        // SAFETY: as many numbers as the shape says, owned by the booster until its next prediction; copied at once.
        Ok(unsafe { std::slice::from_raw_parts(values, rows) }.to_vec())
    }
}

impl Drop for Booster<'_> {
    fn drop(&mut self) {
        if !self.handle.is_null() {
            // SAFETY: made by this library, and freed once, here, before its matrix.
            unsafe { (self.matrix.library.functions.XGBoosterFree)(self.handle) };
        }
    }
}
