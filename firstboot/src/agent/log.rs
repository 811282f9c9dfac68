//! The last things a node said and met, bounded. What comes again and again takes one place.

use std::collections::VecDeque;
use std::time::Instant;

use cluster::history::{Event, Kind};
use cluster::text::is_harmful;
use cluster::wire::{Cause, Stage};

/// How much is kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Events.
    pub(crate) events: usize,
    /// Bytes of all texts together.
    pub(crate) bytes: usize,
}

/// For the node itself. On the card that is under 26 KiB, and twice that while it is replaced: the builder leaves 64 KiB.
pub(crate) const OWN: Bounds = Bounds { events: 200, bytes: 16 * 1024 };
/// For each node that reports to a manager: 500 of them are under 4 MiB.
pub(crate) const HEARD: Bounds = Bounds { events: 50, bytes: 8 * 1024 };

/// How far back an event is taken for the same: trouble often comes in two or three forms in turn.
const NEAR: usize = 4;

/// The events, oldest first. Kept by the monotonic clock, for the other one is set on the way.
#[derive(Debug, Clone)]
pub(crate) struct Log {
    bounds: Bounds,
    events: VecDeque<(Instant, Event)>,
    bytes: usize,
}

impl Log {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self { bounds, events: VecDeque::new(), bytes: 0 }
    }

    /// Adds an event that happens now.
    pub(crate) fn add(&mut self, stage: Stage, kind: Kind, text: &str, cause: Option<&Cause>) {
        let text: String = text.chars().map(|c| if is_harmful(c) { ' ' } else { c }).collect();
        let same = |event: &Event| event.stage == stage && event.kind == kind && event.text == text;
        if let Some((_, event)) = self.events.iter_mut().rev().take(NEAR).find(|(_, event)| same(event)) {
            event.times = event.times.saturating_add(1);
            return;
        }
        let event = Event { unix_ms: 0, stage, kind, times: 1, text, cause: cause.cloned() };
        self.bytes += bytes(&event);
        self.events.push_back((Instant::now(), event));
        while self.events.len() > self.bounds.events
            || (self.bytes > self.bounds.bytes && self.events.len() > 1)
        {
            if let Some((_, event)) = self.events.pop_front() {
                self.bytes -= bytes(&event);
            }
        }
    }

    /// The events with times by a clock that shows `now`, in milliseconds since 1970.
    pub(crate) fn events(&self, now: u64) -> Vec<Event> {
        let dated = |(at, event): &(Instant, Event)| {
            let ago = u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX);
            Event { unix_ms: now.saturating_sub(ago), ..event.clone() }
        };
        self.events.iter().map(dated).collect()
    }
}

/// What an event counts, in bytes.
fn bytes(event: &Event) -> usize {
    event.text.len() + event.cause.as_ref().and_then(Cause::subject).map_or(0, str::len)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(log: &Log) -> Vec<(String, u32)> {
        log.events(0).into_iter().map(|event| (event.text, event.times)).collect()
    }

    #[test]
    fn what_comes_again_and_again_takes_one_place() {
        let mut log = Log::new(OWN);
        for _ in 0..1000 {
            log.add(Stage::Docker, Kind::Trouble, "no route", None);
            log.add(Stage::Docker, Kind::Trouble, "no name server\x1b[2J\u{9b}\u{202e}", None);
        }
        log.add(Stage::Docker, Kind::GaveUp, "no route", None);
        let expected = [("no route", 1000), ("no name server [2J  ", 1000), ("no route", 1)];
        assert_eq!(texts(&log), expected.map(|(text, times)| (text.to_owned(), times)));
    }

    #[test]
    fn the_oldest_go_when_there_are_too_many_or_they_are_too_long() {
        let mut log = Log::new(Bounds { events: 3, bytes: 10 });
        for text in ["a", "b", "c", "d"] {
            log.add(Stage::Swarm, Kind::Said, text, None);
        }
        assert_eq!(texts(&log).first().unwrap().0, "b");
        log.add(Stage::Swarm, Kind::Said, "123456789", None);
        assert_eq!(texts(&log).first().unwrap().0, "d");
        log.add(Stage::Swarm, Kind::Said, &"x".repeat(50), None);
        assert_eq!(texts(&log).len(), 1, "the last word stays, however long");
    }
}
