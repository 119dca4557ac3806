//! scratch
use std::time::Instant;
use thorax_engine::graph::{Graph, Kernels};
fn main() {
    for path in std::env::args().skip(1) {
        let (path, shape) = path.split_once(':').unwrap();
        let shape: Vec<usize> = shape.split('x').map(|s| s.parse().unwrap()).collect();
        let bytes = std::fs::read(path).unwrap();
        let none: [&str; 0] = [];
        let started = Instant::now();
        let ours = Graph::read(&bytes, &none, Kernels::Own).unwrap();
        let read = started.elapsed().as_secs_f64() * 1e3;
        let tract = Graph::read(&bytes, &none, Kernels::Tract).unwrap();
        let length: usize = shape.iter().product();
        let x: Vec<f32> = (0..length).map(|i| ((i * 37 % 1013) as f32 - 506.0) / 300.0).collect();
        let (a, b) = (ours.run(&shape, &x).unwrap(), tract.run(&shape, &x).unwrap());
        for ((s, a), (t, b)) in a.iter().zip(&b) {
            assert_eq!(s, t);
            let largest = b.iter().fold(0f32, |m, v| m.max(v.abs()));
            println!("  {s:?} {:.2e} of {largest}", a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max));
        }
        let mut times = [vec![], vec![]];
        for _ in 0..15 {
            for (graph, times) in [&ours, &tract].into_iter().zip(&mut times) {
                let start = Instant::now();
                graph.run(&shape, &x).unwrap();
                times.push(start.elapsed().as_secs_f64() * 1e3);
            }
        }
        times.iter_mut().for_each(|times| times.sort_by(f64::total_cmp));
        println!("{path}: ours {:.2} ms, tract {:.2} ms; read {read:.0} ms; {:?}", times[0][7], times[1][7], ours.operators());
    }
}
