use clap::Parser;
#[derive(Parser)]
enum Cmd { Bench(thorax_trainer::bench::BenchArgs) }
fn main() -> anyhow::Result<()> { match Cmd::parse() { Cmd::Bench(a) => thorax_trainer::bench::run(&a) } }
