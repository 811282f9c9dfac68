//! The time line of a boot as an SVG picture: one bar per part, on a common axis of seconds.

use std::fmt::Write as _;

use super::timeline::Span;

const WIDTH: f64 = 920.0;
/// Left of the axis stand the names.
const LEFT: f64 = 250.0;
const RIGHT: f64 = 70.0;
const ROW: f64 = 30.0;
const TOP: f64 = 46.0;

/// Draws the parts.
pub(super) fn draw(spans: &[Span]) -> String {
    let end = spans.iter().map(|span| span.to).fold(1.0, f64::max);
    let x = |seconds: f64| LEFT + seconds / end * (WIDTH - LEFT - RIGHT);
    let rows = u32::try_from(spans.len()).unwrap_or(u32::MAX);
    let bottom = TOP + ROW * f64::from(rows);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {:.0}\" \
         font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n\
         <text x=\"20\" y=\"24\" font-size=\"15\" font-weight=\"bold\">From power-on to the swarm: {end:.0} s, \
         one arm64 node in QEMU without hardware help</text>\n",
        bottom + 34.0
    );
    let mut draw = |line: std::fmt::Arguments<'_>| {
        // Writing to a string does not fail.
        svg.write_fmt(line).unwrap_or_default();
        svg.push('\n');
    };
    let step = [5.0, 10.0, 20.0, 30.0, 60.0].into_iter().find(|step| end / step < 12.0).unwrap_or(120.0);
    let mut tick = 0.0;
    while tick <= end {
        let at = x(tick);
        draw(format_args!(
            "<line x1=\"{at:.1}\" y1=\"{TOP}\" x2=\"{at:.1}\" y2=\"{bottom}\" stroke=\"#dddddd\"/>"
        ));
        let y = bottom + 18.0;
        draw(format_args!(
            "<text x=\"{at:.1}\" y=\"{y}\" text-anchor=\"middle\" fill=\"#555555\">{tick:.0} s</text>"
        ));
        tick += step;
    }
    let mut y = TOP;
    for span in spans {
        let (from, width) = (x(span.from), (x(span.to) - x(span.from)).max(1.5));
        let middle = y + ROW / 2.0 + 5.0;
        draw(format_args!(
            "<text x=\"{}\" y=\"{middle}\" text-anchor=\"end\">{}</text>",
            LEFT - 10.0,
            span.name
        ));
        let (top, height) = (y + 5.0, ROW - 10.0);
        // Ours are the darker ones.
        let colour = if span.is_ours { "#2b6cb0" } else { "#a0aec0" };
        draw(format_args!(
            "<rect x=\"{from:.1}\" y=\"{top}\" width=\"{width:.1}\" height=\"{height}\" rx=\"3\" fill=\"{colour}\"/>"
        ));
        draw(format_args!(
            "<text x=\"{:.1}\" y=\"{middle}\">{:.1} s</text>",
            from + width + 6.0,
            span.to - span.from
        ));
        y += ROW;
    }
    svg + "</svg>\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_has_a_bar_as_long_as_it_took() {
        let span = |name, from, to| Span { name, from, to, is_ours: false };
        let svg = draw(&[span("kernel", 0.0, 10.0), span("seed stage", 10.0, 40.0)]);
        let bars: Vec<f64> = svg
            .lines()
            .filter(|line| line.contains("rx="))
            .map(|line| line.split("width=\"").nth(1).unwrap().split('"').next().unwrap().parse().unwrap())
            .collect();
        assert_eq!(bars.len(), 2);
        assert!((bars[1] / bars[0] - 3.0).abs() < 0.01, "{bars:?}");
        assert!(svg.contains(">kernel<") && svg.contains(">30.0 s<"));
    }
}
