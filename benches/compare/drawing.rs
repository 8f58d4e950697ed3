//! The drawing: a dot for each server, on one scale of powers of ten.

use std::fmt::Write;

/// One row of the table.
pub struct Panel {
    pub title: String,
    pub dots: Vec<(&'static str, f64)>,
}

const LEFT: f64 = 220.0;
const WIDTH: f64 = 520.0;
const LINE: f64 = 18.0;
/// From 1 µs to 10 ms.
const DECADES: f64 = 4.0;

/// An SVG that is readable on light and on dark pages.
pub fn draw(panels: &[Panel]) -> String {
    let mut out = String::new();
    let mut y = 10.0;
    for panel in panels {
        y += 26.0;
        text(&mut out, 8.0, y, "title", &panel.title);
        let top = y + 6.0;
        let bottom = top + LINE * panel.dots.len() as f64;
        for decade in 0..=4 {
            let x = LEFT + WIDTH * f64::from(decade) / DECADES;
            writeln!(out, r#"<line x1="{x:.0}" y1="{top:.0}" x2="{x:.0}" y2="{bottom:.0}"/>"#).unwrap();
        }
        for (server, value) in &panel.dots {
            y += LINE;
            let x = LEFT + WIDTH * (value.max(1.0).log10() / DECADES).min(1.0);
            let class = if server.starts_with("Valet") {
                "ours"
            } else if server.contains("looks at nothing") {
                "floor"
            } else {
                "peer"
            };
            text(&mut out, 16.0, y, class, server);
            writeln!(out, r#"<circle class="{class}" cx="{x:.1}" cy="{:.1}" r="5"/>"#, y - 4.0).unwrap();
            text(&mut out, x + 10.0, y, class, &format!("{value:.1}"));
        }
        y += 6.0;
    }
    y += 20.0;
    for (decade, label) in ["1 µs", "10 µs", "100 µs", "1 ms", "10 ms"].into_iter().enumerate() {
        text(&mut out, LEFT + WIDTH * decade as f64 / DECADES - 14.0, y, "peer", label);
    }
    y += 24.0;
    text(&mut out, 8.0, y, "peer", "CPU of a request, by the operating system. Blue: Valet; hollow: looks at nothing.");
    let (width, height) = (LEFT + WIDTH + 80.0, y + 14.0);
    format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0} {height:.0}" width="{width:.0}" height="{height:.0}" font-family="system-ui, sans-serif" font-size="13" role="img" aria-label="CPU of a request at each server">
<style>rect {{ fill: #fff }} line {{ stroke: #ddd }} text {{ fill: #444 }} .title {{ font-weight: 600; fill: #111 }} text.ours {{ fill: #0b57d0; font-weight: 600 }}
circle.ours {{ fill: #0b57d0 }} circle.peer {{ fill: #666 }} circle.floor {{ fill: none; stroke: #888; stroke-width: 1.5 }}</style>
<rect width="100%" height="100%"/>
{out}</svg>
"##
    )
}

fn text(out: &mut String, x: f64, y: f64, class: &str, text: &str) {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    writeln!(out, r#"<text class="{class}" x="{x:.1}" y="{y:.1}">{text}</text>"#).unwrap();
}
