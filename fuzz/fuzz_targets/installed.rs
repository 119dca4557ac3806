//! What a device keeps beside its journal: the list of installed bundles, and a site's table of the truth about its patients.
#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use thorax_bundles::{
    Bundles,
    table::{self, Case},
};
use thorax_fuzz::Memory;
use thorax_shared::modality::Modality;

fuzz_target!(|data: &[u8]| {
    let Some((form, data)) = data.split_first() else { return };
    if form % 2 == 0 {
        let files = Memory::default();
        files.0.lock().unwrap().insert("state.json".into(), data.to_vec());
        match Bundles::open_on(Arc::new(files.clone())) {
            // What was read is written so that it is read the same, and what is said to be installed has its file.
            Ok(mut bundles) => {
                let active = bundles.active();
                assert!(Modality::ALL.len() >= active.len());
                if bundles.start(1).is_ok() && bundles.stopped().is_ok() {
                    let again = Bundles::open_on(Arc::new(files)).unwrap();
                    assert_eq!(again.state(), bundles.state());
                }
            }
            Err(error) => assert!(!error.reason().cause.is_empty()),
        }
    } else {
        match table::read_truth(data) {
            Ok(truth) => {
                assert!(!truth.is_empty());
                let cases: Vec<Case> = truth.values().map(|positive| Case { probability: 0.5, positive: *positive, always_sent: false }).collect();
                let row = table::Row::new(&cases, 0.5);
                assert_eq!(row.screened(), cases.len() as u64);
            }
            Err(reason) => assert!(!reason.cause.is_empty() && reason.remedy.is_some()),
        }
    }
});
