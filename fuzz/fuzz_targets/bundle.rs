//! Bundles: once as they are, once signed with a key that is trusted here, so that the fuzzer reaches the manifest.
#![no_main]

use std::sync::LazyLock;

use ed25519_dalek::{Signer, SigningKey};
use thorax_shared::bundle::{Bundle, Limits, PublicKey, TrustedKeys, inspect_untrusted};

static KEY: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::from_bytes(&[7; 32]));

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let trusted = TrustedKeys::only(PublicKey::from_bytes(KEY.verifying_key().as_bytes()).unwrap());
    let limits = Limits::default();
    let _ = Bundle::read(data, &trusted, &limits);
    let _ = inspect_untrusted(data, &limits);

    // The input is the length of the manifest, the manifest and the parts; header and trailer are put around them.
    let Some((length, rest)) = data.split_first_chunk::<2>() else { return };
    let length = usize::from(u16::from_le_bytes(*length)).min(rest.len());
    let mut file = b"THORAX\x01\0".to_vec();
    file.extend((length as u32).to_le_bytes());
    file.extend(((rest.len() - length) as u64).to_le_bytes());
    file.extend(&rest[..length]);
    let signature = KEY.sign(&file);
    file.extend(&rest[length..]);
    file.extend(KEY.verifying_key().as_bytes());
    file.extend(signature.to_bytes());
    if let Ok(bundle) = Bundle::read(&file, &trusted, &limits) {
        let _ = (bundle.classifier_graph(), bundle.segmenter_graph(), bundle.card());
        assert_eq!(bundle.parts().map(|(_, bytes)| bytes.len()).sum::<usize>(), rest.len() - length);
    }
});
