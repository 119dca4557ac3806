//! What is at the path, before any decoder sees it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail by panic")]

use thorax_decode::{DecodeError, Limits, Study, decode, decode_bytes};

fn error_of(bytes: &[u8]) -> DecodeError {
    decode_bytes(bytes, &Limits::default()).unwrap_err()
}

#[test]
fn what_is_no_file_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits::default();
    assert!(matches!(decode(&folder.path().join("none.dcm"), &limits), Err(DecodeError::Missing)));
    assert!(matches!(decode(folder.path(), &limits), Err(DecodeError::Directory)));
    assert!(matches!(decode(std::path::Path::new("/dev/null"), &limits), Err(DecodeError::NotAFile)));
    let path = folder.path().join("empty.png");
    std::fs::write(&path, b"").unwrap();
    assert!(matches!(decode(&path, &limits), Err(DecodeError::Empty)));
}

#[test]
fn the_name_does_not_matter() {
    let folder = tempfile::tempdir().unwrap();
    let film = include_bytes!("fixtures/encodings/film.dcm");
    for name in ["film.dcm", "IM000001", "film.png", "film.nii.gz"] {
        let path = folder.path().join(name);
        std::fs::write(&path, film).unwrap();
        assert!(matches!(decode(&path, &Limits::default()), Ok(Study::Image(_))), "{name}");
    }
}

#[test]
fn large_files_are_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("film.dcm");
    std::fs::write(&path, include_bytes!("fixtures/encodings/film.dcm")).unwrap();
    let limits = |max_file_bytes| Limits { max_file_bytes, ..Limits::default() };
    let size = std::fs::metadata(&path).unwrap().len();
    assert!(decode(&path, &limits(size)).is_ok());
    assert!(matches!(decode(&path, &limits(size - 1)), Err(DecodeError::FileTooLarge { .. })));
}

#[test]
fn other_formats_are_named() {
    for (bytes, name) in [
        (&b"GIF89a\x01\0\x01\0\0\0\0"[..], "GIF"),
        (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3", "PDF"),
        (b"PK\x03\x04\x14\0\0\0\x08\0", "ZIP"),
        (b"NRRD0004\ntype: short\n", "NRRD"),
        (b"RIFF\x24\0\0\0WEBPVP8 ", "WebP"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "HEIC"),
        (b"\xff\x4f\xff\x51\0\x29", "JPEG 2000"),
        (
            b"\x1f\x8b\x08\0\0\0\0\0\0\x03\x4b\x4c\x4a\x06\0\xc2\x41\x24\x35\x03\0\0\0",
            "gzip archive without a NIfTI volume",
        ),
        (b"BZh91AY&SY", "bzip2"),
        (b"\xfd7zXZ\0\0\x04", "xz"),
        (b"8BPS\0\x01", "Photoshop"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
        (b"P5\n64 64\n255\n\x01\x02", "PGM"),
        (&[&348i32.to_le_bytes()[..], &[0; 344]].concat(), "ANALYZE"),
        (&[&348i32.to_be_bytes()[..], &[0; 344]].concat(), "ANALYZE"),
        (&[&[b'a'; 257][..], b"ustar", &[0; 250]].concat(), "tar archive"),
    ] {
        let error = error_of(bytes);
        assert!(matches!(error, DecodeError::OtherFormat(_)), "{name}: {error:?}");
        assert!(error.to_string().contains(name), "{error}");
    }
    assert!(matches!(error_of(b"patient_id,label\n7,covid\n"), DecodeError::Text));
    assert!(matches!(error_of("R\u{f6}ntgenbefund: unauff\u{e4}llig".as_bytes()), DecodeError::Text));
    assert!(matches!(error_of(&"\u{e4}".repeat(4097).as_bytes()[1..]), DecodeError::UnknownFormat));
    assert!(matches!(error_of(&format!("a{}", "\u{e4}".repeat(4097)).into_bytes()), DecodeError::Text));
    assert!(matches!(error_of(b"\xff\xfep\0a\0t\0i\0e\0n\0t\0"), DecodeError::Text));
    assert!(matches!(error_of(b"\x1f\x8b\x08\0\0\0\0\0"), DecodeError::Truncated { format: "gzip" }));
    assert!(matches!(
        error_of(b"\x1f\x8b\x08\0\0\0\0\0\0\x03\xff\xff\xff\xff\xff"),
        DecodeError::Damaged { format: "gzip", .. }
    ));
    assert!(matches!(error_of(&[0; 1000]), DecodeError::UnknownFormat));
    assert!(matches!(error_of(b"\x01\x02\x03"), DecodeError::UnknownFormat));
}

#[test]
fn messages_give_reason_and_remedy() {
    for error in [
        DecodeError::Missing,
        DecodeError::Directory,
        DecodeError::Empty,
        DecodeError::Text,
        DecodeError::UnknownFormat,
        DecodeError::NoPixelData,
        DecodeError::MultiFrame { frames: 3 },
        DecodeError::NotAxial { plane: "coronal" },
        DecodeError::Truncated { format: "PNG" },
    ] {
        let message = error.to_string();
        assert!(message.contains(": "), "reason: remedy, not {message:?}");
        assert!(!message.ends_with('.') && message.len() < 160, "{message:?}");
    }
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_an_error_or_a_study(bytes: Vec<u8>) {
        let _ = decode_bytes(&bytes, &Limits::default());
    }
}
