//! A study on paper: one file of HTML that a browser prints on A4.
//!
//! It holds all it needs, pictures too, and asks for nothing: no script runs in it, and its own policy forbids to load anything. All
//! text is escaped, since names come from outside. The words are the caller's, in the caller's language.

use std::fmt::Write as _;

use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::ObjectError;

/// A page.
#[derive(Clone, Debug)]
pub struct Page<'a> {
    /// Language of the words, as BCP 47 has it: `en`, `fr`, `hi` ...
    pub language: &'a str,
    /// Whether the language is written from right to left.
    pub right_to_left: bool,
    /// Of the page.
    pub title: &'a str,
    /// The verdict's word.
    pub verdict: &'a str,
    /// Why, and what to do; empty where there is nothing to say.
    pub reason: &'a str,
    /// Facts, in tables.
    pub sections: Vec<Section<'a>>,
    /// What to look at.
    pub pictures: Vec<Picture<'a>>,
    /// That it is for research use only, and no medical device. Stands on top and below.
    pub notice: &'a str,
    /// The small print: device, bundle, hash.
    pub footer: &'a str,
}

/// Facts under a heading.
#[derive(Clone, Debug)]
pub struct Section<'a> {
    /// The heading.
    pub heading: &'a str,
    /// What each fact is called, and what it is.
    pub rows: Vec<(&'a str, String)>,
}

/// A picture with a caption.
#[derive(Clone, Debug)]
pub struct Picture<'a> {
    /// The bytes of a PNG file.
    pub png: &'a [u8],
    /// What stands below it.
    pub caption: &'a str,
    /// What is told to those who do not see it.
    pub alternative: &'a str,
}

const STYLE: &str = "\
@page{size:A4;margin:14mm}\
*{box-sizing:border-box}\
body{font:11pt/1.35 'Noto Sans','DejaVu Sans',sans-serif;color:#000;background:#fff;max-width:182mm;margin:0 auto;padding:4mm}\
h1{font-size:16pt;margin:0 0 3mm}h2{font-size:12pt;margin:5mm 0 1mm}\
.notice{border:.6mm solid #000;padding:2mm 3mm;font-weight:bold;margin:0 0 4mm}\
.verdict{font-size:20pt;font-weight:bold;margin:0}.reason{margin:0 0 3mm}\
table{border-collapse:collapse;width:100%}\
th,td{text-align:start;vertical-align:top;padding:.8mm 2mm;border-bottom:.2mm solid #888;overflow-wrap:anywhere}\
th{width:40%;font-weight:normal}\
section,figure{break-inside:avoid}\
.pictures{display:flex;flex-wrap:wrap;gap:4mm;margin-top:5mm}\
figure{margin:0;flex:1 1 70mm;max-width:100%}img{width:100%;height:auto;max-height:120mm;object-fit:contain}\
figcaption{font-size:9pt}footer{font-size:8pt;margin-top:5mm;overflow-wrap:anywhere}\
@media print{body{padding:0;max-width:none}}";

impl Page<'_> {
    /// The file.
    ///
    /// # Errors
    /// [`ObjectError::NotPng`].
    pub fn html(&self) -> Result<String, ObjectError> {
        if self.pictures.iter().any(|picture| !picture.png.starts_with(b"\x89PNG\r\n\x1a\n")) {
            return Err(ObjectError::NotPng);
        }
        let mut html = String::new();
        let direction = if self.right_to_left { "rtl" } else { "ltr" };
        // Writing to a string does not fail.
        let _ = write!(
            html,
            "<!DOCTYPE html>\n<html lang=\"{}\" dir=\"{direction}\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta http-equiv=\"Content-Security-Policy\" \
             content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<meta name=\"robots\" content=\"noindex\">\n\
             <title>{}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<p class=\"notice\">{}</p>\n<main>\n<h1>{}</h1>\n\
             <p class=\"verdict\">{}</p>\n",
            escaped(self.language),
            escaped(self.title),
            escaped(self.notice),
            escaped(self.title),
            escaped(self.verdict),
        );
        if !self.reason.is_empty() {
            let _ = writeln!(html, "<p class=\"reason\">{}</p>", escaped(self.reason));
        }
        for section in &self.sections {
            let _ = writeln!(html, "<section>\n<h2>{}</h2>\n<table>", escaped(section.heading));
            for (name, value) in &section.rows {
                let (name, value) = (escaped(name), escaped(value));
                let _ = writeln!(html, "<tr><th scope=\"row\">{name}</th><td><bdi>{value}</bdi></td></tr>");
            }
            html.push_str("</table>\n</section>\n");
        }
        html.push_str("<div class=\"pictures\">\n");
        for picture in &self.pictures {
            let _ = writeln!(
                html,
                "<figure><img alt=\"{}\" src=\"data:image/png;base64,{}\"><figcaption>{}</figcaption></figure>",
                escaped(picture.alternative),
                STANDARD.encode(picture.png),
                escaped(picture.caption),
            );
        }
        let (notice, footer) = (escaped(self.notice), escaped(self.footer));
        let _ = write!(html, "</div>\n</main>\n<footer><p>{notice}</p><p>{footer}</p></footer>\n</body>\n</html>\n");
        Ok(html)
    }
}

/// Text that is no markup, also between quotes. Controls, which HTML forbids, become spaces.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c if c.is_control() => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// The eight bytes that a PNG file begins with, and some that are no markup.
    const PNG: &[u8] = b"\x89PNG\r\n\x1a\n<script>";

    fn page(hostile: &str) -> Page<'_> {
        Page {
            language: hostile,
            right_to_left: false,
            title: hostile,
            verdict: hostile,
            reason: hostile,
            sections: vec![Section { heading: hostile, rows: vec![(hostile, hostile.to_owned())] }],
            pictures: vec![Picture { png: PNG, caption: hostile, alternative: hostile }],
            notice: hostile,
            footer: hostile,
        }
    }

    #[test]
    fn nothing_that_comes_in_is_markup() {
        let plain = page("x").html().unwrap();
        let hostile = page("\"'><script>alert(1)</script><img src=x onerror=alert(1)>&amp;\u{0}").html().unwrap();
        // As many tags and quotes as with a harmless word: whatever came in opened and closed nothing.
        for c in ['<', '>', '"', '\''] {
            assert_eq!(hostile.matches(c).count(), plain.matches(c).count(), "{c}");
        }
        assert!(!hostile.contains("<script") && !hostile.contains("&amp;\0") && hostile.contains("&amp;amp;"));
    }

    #[test]
    fn a_page_needs_nothing_but_itself() {
        let html = page("x").html().unwrap();
        assert!(html.contains("default-src 'none'") && html.contains("size:A4"));
        assert!(!html.contains("http://") && !html.contains("https://") && !html.contains("<script"));
        let encoded = html.split_once("base64,").unwrap().1.split_once('"').unwrap().0;
        assert_eq!(STANDARD.decode(encoded).unwrap(), PNG);
    }

    #[test]
    fn a_picture_that_is_none_is_refused() {
        let mut page = page("x");
        page.pictures[0].png = b"GIF89a";
        assert!(page.html().unwrap_err().to_string().contains("no PNG file"));
    }

    #[test]
    fn the_notice_stands_above_and_below() {
        let mut page = page("x");
        page.notice = crate::RESEARCH_USE;
        assert_eq!(page.html().unwrap().matches(crate::RESEARCH_USE).count(), 2);
    }
}
