//! JPEG and JPEG-LS codestreams as a DICOM film holds them. The data set says what the codestream's own frame header says, so that the
//! decoders are reached, ours for JPEG-LS and for JPEG of more than 8 bits.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    // Marker, length, bits, rows, columns, components.
    let frame = data.windows(10).find(|bytes| bytes[0] == 0xff && matches!(bytes[1], 0xc0..=0xc3 | 0xf7));
    let Some(&[_, _, _, _, bits @ 1..=16, y1, y0, x1, x0, components]) = frame else { return };
    let allocated = if bits > 8 { 16 } else { 8 };
    let photometric = if components == 3 { "RGB " } else { "MONOCHROME2 " };
    let mut file = [&[0; 128][..], b"DICM"].concat();
    let mut element = |group: u16, number: u16, vr: &str, value: &[u8]| {
        file.extend(group.to_le_bytes());
        file.extend(number.to_le_bytes());
        file.extend(vr.as_bytes());
        file.extend((value.len() as u16).to_le_bytes());
        file.extend(value);
    };
    element(2, 0x10, "UI", b"1.2.840.10008.1.2.4.80");
    element(8, 0x60, "CS", b"DX");
    element(0x28, 2, "US", &[components, 0]);
    element(0x28, 4, "CS", photometric.as_bytes());
    element(0x28, 0x10, "US", &[y0, y1]);
    element(0x28, 0x11, "US", &[x0, x1]);
    element(0x28, 0x100, "US", &[allocated, 0]);
    element(0x28, 0x101, "US", &[bits, 0]);
    element(0x28, 0x102, "US", &[bits - 1, 0]);
    element(0x28, 0x103, "US", &[0, 0]);
    file.extend(b"\xe0\x7f\x10\0OB\0\0\xff\xff\xff\xff\xfe\xff\0\xe0\0\0\0\0\xfe\xff\0\xe0");
    file.extend((data.len() as u32).to_le_bytes());
    file.extend(data);
    file.extend(b"\xfe\xff\xdd\xe0\0\0\0\0");
    thorax_fuzz::decode(&file, |_| true);
});
