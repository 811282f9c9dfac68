//! What a node said and met, as it stands in `swarm/log.txt` on its card and travels to the operator.
//!
//! A line of the log is `2026-11-22T21:00:00Z docker trouble*12 [no_name_server deb.example.org] cannot install`: when (the
//! node's own clock, UTC), the stage, the kind and how often if more than once, the cause in brackets if there is a code
//! for it, and the text to the line's end. Lines of older agents have no cause. Older readers take it for text.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::wire::{Cause, Stage, lenient};

/// What kind of event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// What the node did or waited for.
    Said,
    /// What kept it from going on; it tried again.
    Trouble,
    /// What made it stop trying.
    GaveUp,
}

impl Kind {
    /// The word in a line of the log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Said => "said",
            Self::Trouble => "trouble",
            Self::GaveUp => "gave-up",
        }
    }
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When it happened first, milliseconds since 1970.
    pub unix_ms: u64,
    /// What the node was at.
    pub stage: Stage,
    /// What kind it is.
    pub kind: Kind,
    /// How often it happened in a row, or nearly so.
    pub times: u32,
    /// One line. No secrets.
    pub text: String,
    /// The same for programs, where the agent knows a code for it.
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
}

/// Stands in a cause's place where there is none, so that a text that begins with a bracket stays a text.
const NO_CAUSE: &str = "none";

/// A line that no agent wrote.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("this is no line of a node's log")]
pub struct NotEvent;

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Beyond the year 9999 there is no RFC 3339.
        let seconds = (self.unix_ms / 1000).min(253_402_300_799);
        let time = humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(seconds));
        write!(f, "{time} {} {}", self.stage.as_str(), self.kind.as_str())?;
        if self.times > 1 {
            write!(f, "*{}", self.times)?;
        }
        match &self.cause {
            Some(cause) => write!(f, " [{}]", cause.to_words())?,
            None if self.text.starts_with('[') => write!(f, " [{NO_CAUSE}]")?,
            None => {}
        }
        write!(f, " {}", self.text)
    }
}

impl FromStr for Event {
    type Err = NotEvent;

    fn from_str(line: &str) -> Result<Self, NotEvent> {
        let mut parts = line.splitn(4, ' ');
        let mut part = || parts.next().ok_or(NotEvent);
        let (time, stage, kind, text) = (part()?, part()?, part()?, part()?);
        let time = humantime::parse_rfc3339(time).map_err(|_| NotEvent)?;
        let since = time.duration_since(UNIX_EPOCH).map_err(|_| NotEvent)?;
        let (kind, times) = match kind.split_once('*') {
            Some((kind, times)) => (kind, times.parse().map_err(|_| NotEvent)?),
            None => (kind, 1),
        };
        let (cause, text) = split_cause(text);
        Ok(Self {
            unix_ms: since.as_secs().saturating_mul(1000),
            stage: Stage::ALL.into_iter().find(|known| known.as_str() == stage).ok_or(NotEvent)?,
            kind: [Kind::Said, Kind::Trouble, Kind::GaveUp]
                .into_iter()
                .find(|known| known.as_str() == kind)
                .ok_or(NotEvent)?,
            times,
            text: text.to_owned(),
            cause,
        })
    }
}

/// Takes the cause off a line's text. What is in brackets and is no code known here is text.
fn split_cause(text: &str) -> (Option<Cause>, &str) {
    let enclosed = text.strip_prefix('[').and_then(|text| text.split_once("] "));
    match enclosed.map(|(words, rest)| (words, Cause::from_words(words), rest)) {
        Some((NO_CAUSE, _, rest)) => (None, rest),
        Some((_, Some(cause), rest)) => (Some(cause), rest),
        _ => (None, text),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::ProblemCode;

    #[test]
    fn a_line_reads_as_a_person_would_write_it() {
        let event = Event {
            unix_ms: 1_795_381_200_000,
            stage: Stage::Docker,
            kind: Kind::Trouble,
            times: 12,
            text: "cannot install: no route to host".to_owned(),
            cause: None,
        };
        let line = "2026-11-22T21:00:00Z docker trouble*12 cannot install: no route to host";
        assert_eq!(event.to_string(), line);
        assert_eq!(line.parse(), Ok(event.clone()));
        let cause = Some(Cause::new(ProblemCode::PackageServerUnreachable).about("deb.example.org"));
        let event = Event { cause, ..event };
        let line = "2026-11-22T21:00:00Z docker trouble*12 [package_server_unreachable deb.example.org] \
                    cannot install: no route to host";
        assert_eq!(event.to_string(), line);
        assert_eq!(line.parse(), Ok(event));
    }

    #[test]
    fn brackets_without_a_known_code_are_text() {
        for text in ["[sudo] password", "[melted core] hot", "[disk_full]", "[", "[none"] {
            let event: Event = format!("2026-11-22T21:00:00Z docker trouble {text}").parse().unwrap();
            assert_eq!((event.cause, event.text.as_str()), (None, text));
        }
    }

    #[test]
    fn events_of_older_managers_have_no_cause() {
        let json = r#"{"unix_ms":1,"stage":"docker","kind":"trouble","times":1,"text":"x"}"#;
        assert_eq!(serde_json::from_str::<Event>(json).unwrap().cause, None);
    }

    proptest! {
        #[test]
        fn a_line_gives_back_the_event(
            seconds in 0u64..=253_402_300_799,
            stage in prop::sample::select(&Stage::ALL),
            kind in prop::sample::select(&[Kind::Said, Kind::Trouble, Kind::GaveUp]),
            times in 1u32..,
            text in "(\\[[a-z_]{0,9}\\] )?[^\\r\\n]{0,60}",
            code in prop::option::of(prop::sample::select(ProblemCode::ALL)),
            subject in "\\PC{0,20}",
        ) {
            let cause = code.map(|code| Cause::new(code).about(&subject));
            let event = Event { unix_ms: seconds * 1000, stage, kind, times, text, cause };
            prop_assert_eq!(event.to_string().parse::<Event>(), Ok(event));
        }

        #[test]
        fn any_line_ends_well(line in "\\PC{0,80}") {
            if let Ok(event) = line.parse::<Event>() {
                prop_assert!(!event.to_string().is_empty());
            }
        }
    }
}
