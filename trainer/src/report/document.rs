//! A page as data: headings, tables, charts. Written once, rendered as HTML and as Markdown.

use std::fmt::Write as _;

use crate::{
    figures::Pictures,
    markdown::{escaped, row},
};

/// A page.
pub(crate) struct Document {
    pub(crate) title: String,
    /// The name of its file, `report` for `report.html`, to which the Markdown without drawings refers.
    pub(crate) name: &'static str,
    pub(crate) blocks: Vec<Block>,
}

/// A part of a page. All text is plain and escaped when it is rendered.
pub(crate) enum Block {
    /// A section of the table of contents.
    Section(String),
    /// A heading within a section.
    Heading(String),
    Paragraph(String),
    /// What must not be overlooked: a title, and sentences.
    Caution(String, Vec<String>),
    Table(Table),
    Charts(Charts),
    Pictures(Pictures),
}

/// Rows of words and numbers; the first column names, the others are numbers unless the table says that they are words.
#[derive(Default)]
pub(crate) struct Table {
    pub(crate) caption: String,
    pub(crate) head: Vec<String>,
    pub(crate) rows: Vec<TableRow>,
    /// Whether all columns are words, which go on in the next line.
    pub(crate) words: bool,
}

#[derive(Default)]
pub(crate) struct TableRow {
    pub(crate) cells: Vec<String>,
    pub(crate) look: Look,
}

/// How a row stands out.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Look {
    /// Not at all.
    #[default]
    Plain,
    /// It begins a group of rows.
    First,
    /// It is what others are compared with.
    Faint,
    /// It is the one to look at.
    Strong,
}

impl Table {
    pub(crate) fn new(caption: impl Into<String>, head: &[&str]) -> Self {
        Self { caption: caption.into(), head: head.iter().map(|&cell| cell.into()).collect(), ..Self::default() }
    }

    pub(crate) fn of_words(caption: impl Into<String>, head: &[&str]) -> Self {
        Self { words: true, ..Self::new(caption, head) }
    }

    pub(crate) fn push(&mut self, look: Look, cells: Vec<String>) {
        self.rows.push(TableRow { cells, look });
    }

    /// Without its caption.
    pub(crate) fn to_markdown(&self) -> String {
        let numbers = if self.words { "---|" } else { "---:|" }.repeat(self.head.len().saturating_sub(1));
        let rows = self.rows.iter().map(|TableRow { cells, .. }| row(cells));
        std::iter::once(row(&self.head)).chain([format!("|---|{numbers}\n")]).chain(rows).collect()
    }
}

/// Small charts side by side, with one legend for all.
pub(crate) struct Charts {
    pub(crate) caption: String,
    /// Colour and what it means.
    pub(crate) legend: Vec<(String, String)>,
    /// Title, and an SVG drawing.
    pub(crate) charts: Vec<(String, String)>,
    /// How many stand side by side where there is room.
    pub(crate) columns: usize,
}

/// Letters of the pictures of a figure.
fn letter(number: usize) -> char {
    (b'a'..=b'z').nth(number).map_or('*', char::from)
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

impl Document {
    /// One file: styles, drawings and pictures are inside, nothing is fetched and nothing is executed.
    pub(crate) fn to_html(&self) -> String {
        let title = escape(&self.title);
        let mut out = format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{title}</title>\n\
             <style>\n{}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n",
            include_str!("page.css")
        );
        let sections: Vec<&String> = self.blocks.iter().filter_map(Block::section).collect();
        if sections.len() > 1 {
            out += "<nav><ol>\n";
            for (number, section) in sections.iter().enumerate() {
                let _ = writeln!(out, "<li><a href=\"#section-{}\">{}</a></li>", number + 1, escape(section));
            }
            out += "</ol></nav>\n";
        }
        let mut number = 0;
        for block in &self.blocks {
            number += usize::from(block.section().is_some());
            block.html(number, &mut out);
        }
        out + "</main>\n</body>\n</html>\n"
    }

    /// Without drawings and pictures.
    pub(crate) fn to_markdown(&self) -> String {
        let mut out = format!("# {}\n", escaped(&self.title));
        for block in &self.blocks {
            block.markdown(self.name, &mut out);
        }
        out
    }
}

impl Block {
    fn section(&self) -> Option<&String> {
        match self {
            Self::Section(title) => Some(title),
            _ => None,
        }
    }

    fn html(&self, section: usize, out: &mut String) {
        // Writing into a string cannot fail.
        let _ = match self {
            Self::Section(title) => writeln!(out, "<h2 id=\"section-{section}\">{}</h2>", escape(title)),
            Self::Heading(title) => writeln!(out, "<h3>{}</h3>", escape(title)),
            Self::Paragraph(text) => writeln!(out, "<p>{}</p>", escape(text)),
            Self::Caution(title, sentences) => {
                let sentences: String = sentences.iter().map(|text| format!("<p>{}</p>", escape(text))).collect();
                writeln!(out, "<aside><strong>{}</strong>{sentences}</aside>", escape(title))
            }
            Self::Table(table) => {
                let class = if table.words { " class=\"words\"" } else { "" };
                let _ = writeln!(out, "<figure><div class=\"scroll\"><table{class}>\n<thead><tr>");
                table.head.iter().for_each(|cell| *out += &format!("<th scope=\"col\">{}</th>", escape(cell)));
                *out += "</tr></thead>\n<tbody>\n";
                for TableRow { cells, look } in &table.rows {
                    let class = match look {
                        Look::Plain => "",
                        Look::First => " class=\"first\"",
                        Look::Faint => " class=\"first faint\"",
                        Look::Strong => " class=\"strong\"",
                    };
                    let _ = write!(out, "<tr{class}>");
                    for (column, cell) in cells.iter().enumerate() {
                        let tag = if column == 0 { "th scope=\"row\"" } else { "td" };
                        let end = if column == 0 { "th" } else { "td" };
                        let _ = write!(out, "<{tag}>{}</{end}>", escape(cell));
                    }
                    *out += "</tr>\n";
                }
                *out += "</tbody></table></div>";
                writeln!(out, "<figcaption>{}</figcaption></figure>", escape(&table.caption))
            }
            Self::Charts(Charts { caption, legend, charts, columns }) => {
                *out += "<figure>";
                if !legend.is_empty() {
                    *out += "<ul class=\"legend\">";
                    for (colour, label) in legend {
                        let _ = write!(out, "<li><i style=\"background:{colour}\"></i>{}</li>", escape(label));
                    }
                    *out += "</ul>";
                }
                let _ = writeln!(out, "<div class=\"charts\" style=\"--columns:{columns}\">");
                for (title, svg) in charts {
                    let title = escape(title);
                    let heading = if title.is_empty() { String::new() } else { format!("<b>{title}</b>") };
                    let _ =
                        writeln!(out, "<div class=\"chart\" role=\"img\" aria-label=\"{title}\">{heading}{svg}</div>");
                }
                writeln!(out, "</div><figcaption>{}</figcaption></figure>", escape(caption))
            }
            Self::Pictures(Pictures { title, caption, pngs, labels }) => {
                let _ = writeln!(out, "<h3>{}</h3>\n<figure><div class=\"pictures\">", escape(title));
                for (number, png) in pngs.iter().enumerate() {
                    let label = match labels.get(number) {
                        Some(label) => escape(label),
                        None if pngs.len() > 1 => format!("({})", letter(number)),
                        None => String::new(),
                    };
                    let _ = writeln!(
                        out,
                        "<div><img alt=\"{} {label}\" src=\"data:image/png;base64,{png}\"><span>{label}</span></div>",
                        escape(title)
                    );
                }
                writeln!(out, "</div><figcaption>{}</figcaption></figure>", escape(caption))
            }
        };
    }

    fn markdown(&self, name: &str, out: &mut String) {
        let _ = match self {
            Self::Section(title) => writeln!(out, "\n## {}", escaped(title)),
            Self::Heading(title) => writeln!(out, "\n### {}", escaped(title)),
            Self::Paragraph(text) => writeln!(out, "\n{}", escaped(text)),
            Self::Caution(title, sentences) => {
                writeln!(out, "\n> **{}** {}", escaped(title), escaped(&sentences.join(" ")))
            }
            Self::Table(table) => {
                *out += "\n";
                *out += &table.to_markdown();
                writeln!(out, "\n{}", escaped(&table.caption))
            }
            Self::Charts(charts) => writeln!(out, "\n(Chart in {name}.html.) {}", escaped(&charts.caption)),
            Self::Pictures(Pictures { title, caption, .. }) => {
                writeln!(out, "\n### {}\n\n(Pictures in {name}.html.) {}", escaped(title), escaped(caption))
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_from_outside_stay_words() {
        let mut table = Table::new("<caption>", &["a", "b|c"]);
        table.push(Look::Strong, vec!["<script>\"".into(), "1 & 2".into()]);
        let page = Document {
            title: "<t>".into(),
            name: "page",
            blocks: vec![Block::Section("s".into()), Block::Table(table)],
        };
        let html = page.to_html();
        assert!(html.contains("&lt;script&gt;&quot;") && html.contains("1 &amp; 2") && !html.contains("<script"));
        assert!(html.contains("<title>&lt;t&gt;</title>") && html.contains("&lt;caption&gt;"));
        assert!(page.to_markdown().contains("| a | b\\|c |\n|---|---:|\n"));
    }
}
