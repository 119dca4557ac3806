//! Gives other languages the preprocessing steps, for comparison: requests on standard input, answers on standard
//! output, as `references/probe.py` speaks it.
//!
//! A request is a line of words, then the picture's bytes (row by row, 16 bits little-endian):
//!
//! | request | answer |
//! |---|---|
//! | `clahe8 W H CLIP TILES_X TILES_Y` | `W * H` bytes |
//! | `clahe16 W H CLIP TILES_X TILES_Y` | `2 * W * H` bytes |
//! | `resize8 W H NEW_W NEW_H` | `NEW_W * NEW_H` bytes |
//! | `resize32 W H NEW_W NEW_H` (picture: 32-bit floats) | `4 * NEW_W * NEW_H` bytes |
//! | `core W H body\|film MARGIN` | a line `X Y W H` |
//! | `quality W H` | a line of JSON: the measures, and the reason for refusal or null |

use std::{
    error::Error,
    io::{self, BufRead, Read, Write},
};
use thorax_shared::{
    plane::Plane,
    preprocess::{assess, clahe_u8, clahe_u16, find_core, resize_f32, resize_u8, spec::Clahe, spec::Core},
};

fn main() -> Result<(), Box<dyn Error>> {
    let mut input = io::stdin().lock();
    let mut output = io::stdout().lock();
    let mut request = String::new();
    while input.read_line(&mut request)? > 0 {
        let words: Vec<&str> = request.split_whitespace().collect();
        let [step, width, height, rest @ ..] = words.as_slice() else {
            return Err(format!("request {request:?}: name a step, width and height").into());
        };
        let (width, height): (usize, usize) = (width.parse()?, height.parse()?);
        let mut bytes = |size: usize| -> Result<Vec<u8>, io::Error> {
            let mut bytes = vec![0; width * height * size];
            input.read_exact(&mut bytes)?;
            Ok(bytes)
        };
        let clahe = |rest: &[&str]| -> Result<Clahe, Box<dyn Error>> {
            Ok(Clahe { clip_limit: rest[0].parse()?, tiles_x: rest[1].parse()?, tiles_y: rest[2].parse()? })
        };
        match (*step, rest) {
            ("clahe8", [_, _, _]) => {
                let picture = Plane::new(width, height, bytes(1)?)?;
                output.write_all(clahe_u8(&picture, clahe(rest)?)?.data())?;
            }
            ("clahe16", [_, _, _]) => {
                let values = bytes(2)?.as_chunks().0.iter().map(|two| u16::from_le_bytes(*two)).collect();
                let picture = Plane::new(width, height, values)?;
                for value in clahe_u16(&picture, clahe(rest)?)?.data() {
                    output.write_all(&value.to_le_bytes())?;
                }
            }
            ("resize8", [new_width, new_height]) => {
                let picture = Plane::new(width, height, bytes(1)?)?;
                output.write_all(resize_u8(&picture, new_width.parse()?, new_height.parse()?).data())?;
            }
            ("resize32", [new_width, new_height]) => {
                let values = bytes(4)?.as_chunks().0.iter().map(|four| f32::from_le_bytes(*four)).collect();
                let map = Plane::new(width, height, values)?;
                for value in resize_f32(&map, new_width.parse()?, new_height.parse()?).data() {
                    output.write_all(&value.to_le_bytes())?;
                }
            }
            ("core", [kind, margin]) => {
                let margin = margin.parse()?;
                let core = if *kind == "body" { Core::Body { margin } } else { Core::Film { margin } };
                let found = find_core(&Plane::new(width, height, bytes(1)?)?, core);
                writeln!(output, "{} {} {} {}", found.x, found.y, found.width, found.height)?;
            }
            ("quality", []) => {
                let picture = Plane::new(width, height, bytes(1)?)?;
                let answer = assess(&picture, &picture, 0.0, &Default::default());
                writeln!(output, "{}", serde_json::to_string(&answer)?)?;
            }
            _ => return Err(format!("request {request:?}: no such step").into()),
        }
        output.flush()?;
        request.clear();
    }
    Ok(())
}
