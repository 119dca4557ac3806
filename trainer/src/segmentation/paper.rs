//! What the paper says of how its segmentation net was trained (section IV.B, Tables IV and X), as options of `train segment`.

/// What `--paper` sets unless it is given: the net, and of the grid of Table IV the values of the best row of Table X. The names are those
/// of the options' identifiers.
pub const OPTIONS: [(&str, &str); 7] = [
    ("net", "modified-attention-unet"),
    ("blocks", "6"),
    ("epochs", "500"),
    ("batch", "64"),
    ("learning_rate", "1e-5"),
    ("schedule", "cosine"),
    ("boundary", "rebalance"),
];

/// Lets `--paper` set an option of `train segment` that is not given.
pub fn default_of_paper(option: clap::Arg) -> clap::Arg {
    use clap::builder::ArgPredicate::Equals;
    // Whether it is there says nothing: a flag that is not given is there, and false.
    let asked = Equals("true".into());
    match OPTIONS.iter().find(|(name, _)| option.get_id() == name) {
        // A frozen encoder has the blocks that it has.
        Some(("blocks", value)) => {
            option.default_value_ifs([("net", Equals("efficientnet".into()), None), ("paper", asked, Some(*value))])
        }
        Some((_, value)) => option.default_value_if("paper", asked, *value),
        None => option,
    }
}
