//! The charts, as SVG. They are drawn on white; legends stand beside them on the page, where they cover nothing.

use plotters::{
    coord::Shift,
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};

use super::document::Charts;
use crate::judge::{
    Estimate,
    classifiers::{Forecast, Judged, Judgement, Spread, Uncertainty},
    masks::{Curve, SegmentationJudgement},
};

/// Why a chart could not be drawn.
pub(crate) type DrawError = DrawingAreaErrorKind<std::io::Error>;

const INK: RGBColor = RGBColor(0x1c, 0x25, 0x30);
const GREY: RGBColor = RGBColor(0x8a, 0x96, 0xa3);
const GRID: RGBColor = RGBColor(0xe6, 0xea, 0xee);
/// Okabe and Ito's blue and vermilion, which are told apart in every kind of colour blindness.
const BLUE: RGBColor = RGBColor(0x00, 0x72, 0xb2);
const VERMILION: RGBColor = RGBColor(0xd5, 0x5e, 0x00);

/// Lines of the classifiers: Paul Tol's scheme "muted" without sand, for colour-blind readers; the ensemble is in ink.
const CLASSIFIERS: [RGBColor; 8] = [
    RGBColor(0x33, 0x22, 0x88),
    RGBColor(0x88, 0xcc, 0xee),
    RGBColor(0x44, 0xaa, 0x99),
    RGBColor(0xcc, 0x66, 0x77),
    RGBColor(0x99, 0x99, 0x33),
    RGBColor(0x88, 0x22, 0x55),
    RGBColor(0xaa, 0x44, 0x99),
    RGBColor(0x11, 0x77, 0x33),
];

fn hex(RGBColor(r, g, b): RGBColor) -> String {
    format!("#{r:02x}{g:02x}{b:02x}")
}

fn colour(judged: &Judged) -> RGBColor {
    let position = |kind| crate::classifiers::Kind::ALL.iter().position(|&other| other == kind);
    judged.kind.and_then(position).map_or(INK, |position| CLASSIFIERS[position])
}

fn font(size: u32, colour: RGBColor) -> TextStyle<'static> {
    // plotters divides sizes by 1.24 on their way into the SVG.
    ("sans-serif", f64::from(size) * 1.24).into_font().color(&colour)
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

fn drawing(size: (u32, u32), draw: impl FnOnce(&Area) -> Result<(), DrawError>) -> Result<String, DrawError> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        draw(&area)?;
        area.present()?;
    }
    Ok(svg)
}

/// Size and words of a chart.
struct Axes<'a> {
    size: (u32, u32),
    x: (std::ops::Range<f64>, &'a str),
    y: (std::ops::Range<f64>, &'a str),
    percent: bool,
    /// Words below the whole numbers from 0 on, in place of numbers; empty for numbers.
    words: &'a [String],
}

type Chart<'a, 'b> = ChartContext<
    'b,
    SVGBackend<'a>,
    Cartesian2d<plotters::coord::types::RangedCoordf64, plotters::coord::types::RangedCoordf64>,
>;

/// Axes with a light grid, and what `draw` puts between them.
fn framed(frame: Axes, draw: impl FnOnce(&mut Chart) -> Result<(), DrawError>) -> Result<String, DrawError> {
    drawing(frame.size, |area| {
        let mut chart = ChartBuilder::on(area)
            .margin(6)
            .margin_right(14)
            .x_label_area_size(38)
            .y_label_area_size(if frame.percent { 60 } else { 48 })
            .build_cartesian_2d(frame.x.0, frame.y.0)?;
        let tick = |value: &f64| if frame.percent { format!("{:.0} %", value * 100.0) } else { format!("{value:.1}") };
        let below = |value: &f64| match frame.words {
            [] => format!("{value:.1}"),
            // Between whole numbers stands nothing.
            words => words.get(value.round() as usize).filter(|_| value.fract() == 0.0).cloned().unwrap_or_default(),
        };
        chart
            .configure_mesh()
            .x_desc(frame.x.1)
            .y_desc(frame.y.1)
            .x_labels(if frame.words.is_empty() { 6 } else { frame.words.len() })
            .y_labels(6)
            .x_label_formatter(&below)
            .y_label_formatter(&tick)
            .label_style(font(11, INK))
            .axis_desc_style(font(12, INK))
            .bold_line_style(GRID)
            .light_line_style(TRANSPARENT)
            .axis_style(GREY)
            .draw()?;
        draw(&mut chart)
    })
}

/// Text outside or between the axes, at a place of theirs, moved by some pixels.
fn label(
    text: &str,
    at: (f64, f64),
    by: (i32, i32),
    style: TextStyle<'static>,
) -> impl for<'a> Fn(&mut Chart) -> Result<(), DrawError> {
    let text = text.to_owned();
    move |chart| chart.plotting_area().draw(&(EmptyElement::at(at) + Text::new(text.clone(), by, style.clone())))
}

fn dashed(chart: &mut Chart, line: [(f64, f64); 2], colour: RGBColor) -> Result<(), DrawError> {
    chart.draw_series(DashedLineSeries::new(line, 5, 4, colour.stroke_width(1)))?;
    Ok(())
}

/// A share of one row of the chart of accuracies, below its middle.
const LANE: f64 = 0.24;

/// Accuracy of every classifier: the paper's, each run's, the averaged prediction's.
pub(super) fn accuracies(judgement: &Judgement, paper: &[Option<f64>], caption: String) -> Result<Charts, DrawError> {
    let rows = judgement.classifiers.len();
    let (averaged, runs, paper_colour) = (BLUE, CLASSIFIERS[1], VERMILION);
    let lows = judgement.classifiers.iter().flat_map(|j| {
        let spread = j.runs.accuracy.map(|s| s.mean - s.standard_deviation.unwrap_or_default());
        [j.averaged.accuracy.map(|e| e.low), spread]
    });
    let lowest = lows.chain(paper.iter().copied()).flatten().fold(0.95, f64::min);
    let low = ((lowest * 10.0 - 0.1).floor() / 10.0).max(0.0);
    let svg = drawing((900, 60 + 44 * rows as u32), |area| {
        let mut chart = ChartBuilder::on(area)
            .margin(6)
            .margin_right(24)
            .x_label_area_size(40)
            .y_label_area_size(140)
            .build_cartesian_2d(low..1.0, rows as f64 - 0.5..-0.5)?;
        chart
            .configure_mesh()
            .disable_y_mesh()
            .y_labels(0)
            .x_labels(10)
            .x_desc("accuracy")
            .x_label_formatter(&|value| format!("{:.0} %", value * 100.0))
            .label_style(font(13, INK))
            .axis_desc_style(font(13, INK))
            .bold_line_style(GRID)
            .light_line_style(TRANSPARENT)
            .axis_style(GREY)
            .draw()?;
        for (row, judged) in judgement.classifiers.iter().enumerate() {
            let y = row as f64;
            let right = font(13, INK).pos(Pos::new(HPos::Right, VPos::Center));
            label(judged.title(), (low, y), (-10, 0), right)(&mut chart)?;
            if row > 0 {
                chart.draw_series([PathElement::new([(low, y - 0.5), (1.0, y - 0.5)], GRID)])?;
            }
            if let Some(Estimate { value, low, high }) = judged.averaged.accuracy {
                let y = y - LANE;
                chart.draw_series([PathElement::new([(low, y), (high, y)], averaged.stroke_width(3))])?;
                chart.draw_series([Circle::new((value, y), 5, averaged.filled())])?;
            }
            if let Some(Spread { mean, standard_deviation, .. }) = judged.runs.accuracy {
                let deviation = standard_deviation.unwrap_or_default();
                chart.draw_series([PathElement::new(
                    [(mean - deviation, y), (mean + deviation, y)],
                    runs.stroke_width(3),
                )])?;
                chart.draw_series([Circle::new((mean, y), 5, runs.filled())])?;
            }
            if let Some(value) = paper.get(row).copied().flatten() {
                chart.draw_series([TriangleMarker::new((value, y + LANE), 6, paper_colour.filled())])?;
            }
        }
        Ok(())
    })?;
    let mut legend = vec![
        (hex(averaged), "averaged prediction, 95 % interval over patients".to_owned()),
        (hex(runs), "each run, mean and standard deviation".to_owned()),
    ];
    if paper.iter().any(Option::is_some) {
        legend.push((hex(paper_colour), "the paper's number (other pictures, other split)".to_owned()));
    }
    Ok(Charts { caption, legend, charts: vec![(String::new(), svg)], columns: 1 })
}

/// ROC and risk-coverage curves of all classifiers.
pub(super) fn curves(judgement: &Judgement, caption: String) -> Result<Charts, DrawError> {
    // The ensemble is last, and lies above the others.
    let line = |judged: &Judged| colour(judged).stroke_width(if judged.kind.is_none() { 4 } else { 2 });
    let axis = 0.0..1.0;
    let size = (560, 430);
    let frame = Axes {
        size,
        x: (axis.clone(), "1 - specificity"),
        y: (axis.clone(), "sensitivity"),
        percent: false,
        words: &[],
    };
    let roc = framed(frame, |chart| {
        dashed(chart, [(0.0, 0.0), (1.0, 1.0)], GREY)?;
        for judged in &judgement.classifiers {
            chart.draw_series(LineSeries::new(judged.roc.iter().map(|&[x, y]| (x, y)), line(judged)))?;
        }
        Ok(())
    })?;
    let risks = judgement.classifiers.iter().flat_map(|j| j.selective.curve.iter().map(|[_, risk]| *risk));
    let top = (risks.fold(0.0, f64::max) * 1.08).clamp(0.02, 1.0);
    let frame = Axes {
        size,
        x: (axis, "coverage: share of pictures that is answered"),
        y: (0.0..top, "risk: share of wrong answers"),
        percent: true,
        words: &[],
    };
    let risk_coverage = framed(frame, |chart| {
        for judged in &judgement.classifiers {
            chart.draw_series(LineSeries::new(judged.selective.curve.iter().map(|&[x, y]| (x, y)), line(judged)))?;
        }
        Ok(())
    })?;
    let legend = judgement.classifiers.iter().map(|j| (hex(colour(j)), j.title().to_owned())).collect();
    let charts = vec![("ROC".to_owned(), roc), ("Risk against coverage, most certain first".to_owned(), risk_coverage)];
    Ok(Charts { caption, legend, charts, columns: 2 })
}

/// Validation Dice and training loss against the epoch, a line a run, a colour a net.
pub(super) fn training(judgements: &[&SegmentationJudgement], caption: String) -> Result<Charts, DrawError> {
    let curves = |of: fn(&Curve) -> &Vec<f64>| {
        judgements.iter().enumerate().flat_map(move |(index, judgement)| {
            let colour = CLASSIFIERS[index % CLASSIFIERS.len()];
            judgement.runs.iter().flat_map(|run| &run.training).map(move |training| (colour, of(&training.curve)))
        })
    };
    let epochs = curves(|curve| &curve.loss).map(|(_, values)| values.len()).max().unwrap_or(0).max(2) as f64;
    let chart = |name: &'static str, of: fn(&Curve) -> &Vec<f64>, y: std::ops::Range<f64>| {
        let frame = Axes { size: (560, 380), x: (1.0..epochs, "epoch"), y: (y, name), percent: false, words: &[] };
        framed(frame, |chart| {
            for (colour, values) in curves(of) {
                let points = values.iter().enumerate().map(|(epoch, &value)| ((epoch + 1) as f64, value));
                chart.draw_series(LineSeries::new(points, colour.stroke_width(2)))?;
            }
            Ok(())
        })
    };
    // The boundary loss of a mask that is found is below 0.
    let losses = || curves(|curve| &curve.loss).flat_map(|(_, values)| values).copied();
    let (lowest, highest) = (losses().fold(0.0, f64::min), losses().fold(0.1, f64::max));
    let charts = vec![
        ("Dice".to_owned(), chart("validation Dice of the infection", |curve| &curve.dice, 0.0..1.0)?),
        ("Loss".to_owned(), chart("training loss", |curve| &curve.loss, lowest * 1.05..highest * 1.05)?),
    ];
    let legend = judgements.iter().enumerate().map(|(index, judgement)| {
        let net = judgement.runs.first().and_then(|run| run.training.first());
        let net = net.map_or_else(String::new, |training| training.config.describe());
        (hex(CLASSIFIERS[index % CLASSIFIERS.len()]), net)
    });
    Ok(Charts { caption, legend: legend.collect(), charts, columns: 2 })
}

/// Entropy of right and of wrong answers, a chart a classifier.
pub(super) fn entropies(judgement: &Judgement, caption: String) -> Result<Charts, DrawError> {
    let charts = judgement.classifiers.iter().map(|judged| {
        let Uncertainty { right_histogram, wrong_histogram, limit, .. } = &judged.uncertainty;
        let counts = [right_histogram, wrong_histogram].map(|histogram| histogram.iter().sum::<usize>());
        let shares = [right_histogram, wrong_histogram].map(|histogram| {
            let all = histogram.iter().sum::<usize>().max(1) as f64;
            histogram.iter().map(|&count| count as f64 / all).collect::<Vec<f64>>()
        });
        let top = shares.iter().flatten().fold(0.05, |top: f64, share| top.max(*share)) * 1.1;
        let frame = Axes {
            size: (380, 270),
            x: (0.0..1.0, "entropy in bits"),
            y: (0.0..top.min(1.05), "share of answers"),
            percent: true,
            words: &[],
        };
        let svg = framed(frame, |chart| {
            for (share, colour) in shares.iter().zip([BLUE, VERMILION]) {
                let width = 1.0 / share.len() as f64;
                let bars = share.iter().enumerate().filter(|(_, share)| **share > 0.0).map(|(bin, &share)| {
                    let left = bin as f64 * width;
                    Rectangle::new([(left, 0.0), (left + width, share)], colour.mix(0.55).filled())
                });
                chart.draw_series(bars)?;
            }
            if let Some(limit) = limit {
                let at = f64::from(limit.bits);
                dashed(chart, [(at, 0.0), (at, top.min(1.05))], INK)?;
            }
            Ok(())
        })?;
        Ok((format!("{}: {} right, {} wrong", judged.title(), counts[0], counts[1]), svg))
    });
    let mut legend = vec![
        (hex(BLUE), "right answers (share of them)".to_owned()),
        (hex(VERMILION), "wrong answers (share of them)".to_owned()),
    ];
    if judgement.classifiers.iter().any(|judged| judged.uncertainty.limit.is_some()) {
        legend.push((hex(INK), "dashed: from here on \"uncertain\"".to_owned()));
    }
    Ok(Charts { caption, legend, charts: charts.collect::<Result<_, DrawError>>()?, columns: 3 })
}

/// Reliability before and after the temperature, a chart a classifier.
pub(super) fn reliabilities(judgement: &Judgement, caption: String) -> Result<Charts, DrawError> {
    let charts = judgement.classifiers.iter().map(|judged| {
        let calibration = &judged.calibration;
        let axis = 0.0..1.0;
        let frame = Axes {
            size: (380, 320),
            x: (axis.clone(), "mean probability of the disease"),
            y: (axis, "share with the disease"),
            percent: false,
            words: &[],
        };
        let svg = framed(frame, |chart| {
            dashed(chart, [(0.0, 0.0), (1.0, 1.0)], GREY)?;
            reliability(chart, &calibration.before, VERMILION)?;
            calibration.tempered.as_ref().map_or(Ok(()), |after| reliability(chart, after, BLUE))
        })?;
        let after = calibration.tempered.as_ref().map(|after| format!(", then {:.3}", after.ece));
        Ok((format!("{}: ECE {:.3}{}", judged.title(), calibration.before.ece, after.unwrap_or_default()), svg))
    });
    let mut legend = vec![(hex(VERMILION), "as averaged".to_owned())];
    if judgement.classifiers.iter().any(|judged| judged.calibration.tempered.is_some()) {
        legend.push((hex(BLUE), "after the temperature".to_owned()));
    }
    Ok(Charts { caption, legend, charts: charts.collect::<Result<_, DrawError>>()?, columns: 3 })
}

/// A line through the bins; a dot's area is the share of pictures in it.
fn reliability(chart: &mut Chart, forecast: &Forecast, colour: RGBColor) -> Result<(), DrawError> {
    let all = forecast.reliability.iter().map(|bin| bin.count).sum::<usize>().max(1) as f64;
    let place = |bin: &crate::judge::classifiers::Bin| (bin.mean_probability, bin.positive_share);
    chart.draw_series(LineSeries::new(forecast.reliability.iter().map(place), colour.stroke_width(2)))?;
    let dots = forecast.reliability.iter().map(|bin| {
        let radius = 2.0 + 12.0 * (bin.count as f64 / all).sqrt();
        Circle::new(place(bin), radius.round() as i32, colour.mix(0.5).filled())
    });
    chart.draw_series(dots)?;
    Ok(())
}

/// A figure, 0 to 1, against the strength of something, from none at all to the strongest, each with its interval; and the limit above
/// which it should stay.
pub(crate) fn strengths(
    words: &[String],
    figures: &[Option<Estimate>],
    (name, limit): (&str, f64),
) -> Result<String, DrawError> {
    let last = words.len().saturating_sub(1).max(1) as f64;
    let frame = Axes { size: (380, 270), x: (0.0..last, ""), y: (0.0..1.0, name), percent: true, words };
    let points = || figures.iter().enumerate().filter_map(|(step, estimate)| Some((step as f64, (*estimate)?)));
    framed(frame, |chart| {
        dashed(chart, [(0.0, limit), (last, limit)], VERMILION)?;
        for (x, Estimate { low, high, .. }) in points() {
            chart.draw_series([PathElement::new([(x, low), (x, high)], BLUE.mix(0.5).stroke_width(3))])?;
        }
        chart.draw_series(LineSeries::new(points().map(|(x, estimate)| (x, estimate.value)), BLUE.stroke_width(2)))?;
        chart.draw_series(points().map(|(x, estimate)| Circle::new((x, estimate.value), 4, BLUE.filled())))?;
        Ok(())
    })
}

/// What the colours of [`strengths`] mean.
pub(crate) fn strengths_legend(name: &str, limit: f64) -> Vec<(String, String)> {
    vec![
        (hex(BLUE), format!("{name}, 95 % interval over patients")),
        (hex(VERMILION), format!("dashed: {:.0} %", limit * 100.0)),
    ]
}
