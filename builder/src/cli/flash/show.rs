//! Progress of several cards: a bar each on a terminal, lines elsewhere, JSON lines for programs.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;

use crate::cli::Globals;
use crate::flash::Phase;
use crate::report::Bytes;

/// Between two JSON lines of one card.
const PAUSE: Duration = Duration::from_millis(500);

/// All cards of a round.
pub(crate) struct Show {
    style: Style,
    total: u64,
    cards: Vec<Mutex<Card>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Style {
    Silent,
    Lines,
    Json,
    Bars,
}

struct Card {
    node: String,
    device: PathBuf,
    phase: Option<Phase>,
    done: u64,
    began: Instant,
    told: Instant,
    bar: Option<ProgressBar>,
}

impl Show {
    /// For cards of so many bytes each.
    pub(crate) fn new(globals: &Globals, names: impl Iterator<Item = (String, PathBuf)>, total: u64) -> Self {
        let style = match (globals.json, globals.quiet, std::io::stderr().is_terminal()) {
            (true, _, _) => Style::Json,
            (_, true, _) => Style::Silent,
            (_, _, true) => Style::Bars,
            _ => Style::Lines,
        };
        let bars = (style == Style::Bars).then(MultiProgress::new);
        let cards = names.map(|(node, device)| {
            let bar = bars.as_ref().map(|bars| bar(bars, &node, total));
            let now = Instant::now();
            Mutex::new(Card { node, device, phase: None, done: 0, began: now, told: now, bar })
        });
        Self { style, total, cards: cards.collect() }
    }

    /// A card has got on by so many bytes.
    pub(crate) fn step(&self, card: usize, phase: Phase, bytes: u64) {
        let Some(card) = self.cards.get(card) else { return };
        let mut card = card.lock().unwrap_or_else(PoisonError::into_inner);
        if card.phase != Some(phase) {
            card.begin(phase);
        }
        let before = card.done;
        card.done += bytes;
        match self.style {
            Style::Silent => {}
            Style::Bars => {
                if let Some(bar) = &card.bar {
                    bar.inc(bytes);
                }
            }
            Style::Lines => {
                let tenth = |done: u64| done.min(self.total).saturating_mul(10) / self.total.max(1);
                if tenth(card.done) > tenth(before) {
                    let percent = tenth(card.done) * 10;
                    say(&format!("{}: {} {percent} % of {}", card.node, card.word(), Bytes(self.total)));
                }
            }
            Style::Json => {
                let now = Instant::now();
                if now - card.told >= PAUSE || card.done >= self.total {
                    card.told = now;
                    print(&card.document(self.total));
                }
            }
        }
    }
}

impl Card {
    fn begin(&mut self, phase: Phase) {
        (self.phase, self.done, self.began) = (Some(phase), 0, Instant::now());
        if let Some(bar) = &self.bar {
            bar.reset();
            bar.set_message(self.word());
        }
    }

    const fn word(&self) -> &'static str {
        match self.phase {
            Some(Phase::Verify) => "verify",
            _ => "write",
        }
    }

    fn document(&self, total: u64) -> serde_json::Value {
        let seconds = self.began.elapsed().as_secs_f64();
        json!({
            "event": "progress", "node": self.node, "device": self.device, "phase": self.phase,
            "done_bytes": self.done, "total_bytes": total,
            "seconds": (seconds * 1000.0).round() / 1000.0,
        })
    }
}

impl Drop for Show {
    fn drop(&mut self) {
        for card in &self.cards {
            if let Some(bar) = &card.lock().unwrap_or_else(PoisonError::into_inner).bar {
                bar.finish_and_clear();
            }
        }
    }
}

/// A bar below the others. Until it is one of them it has nowhere to draw: what a bar draws on its own is a line that
/// nobody clears.
fn bar(bars: &MultiProgress, node: &str, total: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::hidden());
    // The template is a constant; a test draws it.
    if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
        bar.set_style(style);
    }
    let bar = bars.add(bar);
    bar.set_prefix(node.to_owned());
    bar
}

const TEMPLATE: &str =
    "{prefix:8} {msg:6} {wide_bar} {bytes}/{total_bytes} {binary_bytes_per_sec} {eta} left";

/// Says a line on standard error, whoever wants to hear of progress or not.
pub(super) fn say(line: &str) {
    // Nowhere is left to say that standard error is closed.
    let _unwritten = writeln!(std::io::stderr().lock(), "{line}");
}

pub(super) fn print(document: &serde_json::Value) {
    // The reader went away; the exit code still tells.
    let _unwritten = writeln!(std::io::stdout().lock(), "{}", crate::json::value_line(document));
}

#[cfg(test)]
mod tests {
    use indicatif::InMemoryTerm;

    use super::*;

    #[test]
    fn bars_are_drawn_once_and_leave_nothing_behind() {
        assert!(ProgressStyle::with_template(TEMPLATE).is_ok());
        let term = InMemoryTerm::new(10, 80);
        let target = ProgressDrawTarget::term_like(Box::new(term.clone()));
        let bars = MultiProgress::with_draw_target(target);
        let both = ["red00", "red01"].map(|node| bar(&bars, node, 10));
        both.iter().for_each(|bar| bar.inc(5));
        let shown = term.contents();
        assert_eq!(shown.lines().count(), 2, "{shown}");
        assert!(shown.contains("red00") && shown.contains("red01"), "{shown}");
        both.iter().for_each(ProgressBar::finish_and_clear);
        assert_eq!(term.contents(), "");
    }
}
