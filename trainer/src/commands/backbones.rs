//! `thorax-train backbones`: the backbones, what they take and give, and how large they are.

use std::io::Write;

use thorax_nets::{Backbone, Layout, architecture::Parameter};

/// Arguments of `thorax-train backbones`.
#[derive(Debug, clap::Args)]
pub struct BackbonesArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A row of the list.
#[derive(Debug, serde::Serialize)]
pub struct BackboneLine {
    /// Which backbone.
    pub name: Backbone,
    /// Authors and year.
    pub paper: &'static str,
    /// `[C, H, W]` of the pictures it was trained on.
    pub input: [usize; 3],
    /// `[C, H, W]` of its map of features.
    pub feature_map: [usize; 3],
    /// Values of that map.
    pub features: usize,
    /// Parameters as Keras counts them, moving statistics included.
    pub parameters: usize,
    /// Those that are trained.
    pub trainable_parameters: usize,
    /// Where its weights are.
    pub hub_repository: &'static str,
}

/// The rows, one a backbone.
pub fn rows() -> Vec<BackboneLine> {
    let row = |backbone: Backbone| {
        let parameters = backbone.architecture(Layout::Keras).parameters();
        let trained = parameters.iter().filter(|parameter| parameter.is_trainable());
        let feature_map = backbone.feature_shape();
        BackboneLine {
            name: backbone,
            paper: backbone.paper(),
            input: [3, backbone.input_side(), backbone.input_side()],
            feature_map,
            features: feature_map.iter().product(),
            parameters: parameters.iter().map(Parameter::count).sum(),
            trainable_parameters: trained.map(Parameter::count).sum(),
            hub_repository: backbone.hub_repository(),
        }
    };
    Backbone::ALL.into_iter().map(row).collect()
}

/// What the table counts.
const COUNTED: &str = "\
Nets without their classifier; the map of features is not pooled, and features are its values.
Parameters are those of the net in keras.applications, as Keras counts them: kernels, biases (ResNet50's convolutions have \
them in Keras, and only there), and scale, shift, moving mean and moving variance of every batch norm (InceptionResNetV2's \
have no scale in Keras). Not counted: the 7 values of the normalisation layer that Keras puts before EfficientNet. Lite, \
which Keras does not have, is counted likewise. Trainable are all but the moving means and variances.";

/// Prints the list.
///
/// # Errors
/// When standard output is closed.
pub fn run(arguments: &BackbonesArgs) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    if arguments.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&rows())?)?;
        return Ok(());
    }
    let shape = |[c, h, w]: [usize; 3]| format!("{c} x {h} x {w}");
    let header = ["name", "paper", "input", "feature map", "features", "parameters", "trainable", "Hub repository"];
    let mut table = vec![header.map(str::to_owned)];
    table.extend(rows().into_iter().map(|row| {
        [
            row.name.to_string(),
            row.paper.to_owned(),
            shape(row.input),
            shape(row.feature_map),
            thousands(row.features),
            thousands(row.parameters),
            thousands(row.trainable_parameters),
            row.hub_repository.to_owned(),
        ]
    }));
    write_table(&mut out, &table, 4..=6)?;
    writeln!(out, "\n{COUNTED}")?;
    Ok(())
}

/// Writes rows, the first of which is the header, with the columns of `numbers` to the right.
///
/// # Errors
/// When `out` is closed.
pub(super) fn write_table<const N: usize>(
    out: &mut impl Write,
    table: &[[String; N]],
    numbers: std::ops::RangeInclusive<usize>,
) -> std::io::Result<()> {
    let width = |column: usize| table.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N).map(width).collect();
    for row in table {
        let cell = |(column, cell): (usize, &String)| match numbers.contains(&column) {
            true => format!("{cell:>width$}", width = widths[column]),
            false => format!("{cell:<width$}", width = widths[column]),
        };
        let cells: Vec<String> = row.iter().enumerate().map(cell).collect();
        writeln!(out, "{}", cells.join("  ").trim_end())?;
    }
    Ok(())
}

/// `1234567` as `1,234,567`.
pub(super) fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let grouped: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().filter_map(|group| std::str::from_utf8(group).ok()).collect();
    grouped.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_of_table_iii_are_as_the_paper_has_them() {
        let rows = rows();
        let find = |name| rows.iter().find(|row| row.name == name).map(|row| (row.features, row.parameters));
        assert_eq!(find(Backbone::ResNet50), Some((100_352, 23_587_712)));
        assert_eq!(find(Backbone::InceptionResNetV2), Some((98_304, 54_336_736)));
        assert_eq!(rows.len(), 13);
    }

    #[test]
    fn digits_are_in_groups_of_three() {
        let all = [7, 999, 1000, 23_587_712].map(thousands);
        assert_eq!(all, ["7", "999", "1,000", "23,587,712"]);
    }
}
