//! The agent's diary on the card's FAT partition, `swarm/log.txt` and `swarm/status.txt`: for a node that cannot reach
//! its manager, and whose card a person puts into a computer.
//!
//! Cards wear, so it is written when the stage changes, when the node gives up, when the first trouble of a stage lasts a
//! minute, and for other trouble at most every ten minutes. Power lost here: either file is old or new.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cluster::card;
use cluster::history::Event;
use cluster::wire::{Report, Stage};
use tokio::time::{sleep, timeout};

use super::status::{Status, chain};
use super::{Pi, clock_now, facts};
use crate::host::{Host, HostError};

/// Where releases mount the FAT.
const MOUNTS: [&str; 2] = ["/boot/firmware", "/boot"];
/// Begins the agent's part of `status.txt`; what is above it is the seed stage's.
const AGENTS_PART: &str = "----- from the agent -----\n";
/// Between two looks at what there is to write.
const LOOK: Duration = Duration::from_secs(30);
/// How long after an entry without trouble the first trouble is worth one.
const SOON: Duration = Duration::from_secs(60);
/// Between two entries because of trouble that may pass, and of any kind but the last once there were many.
const PAUSE: Duration = Duration::from_secs(600);
/// How many entries of a run are many.
const MANY: u32 = 20;
/// Steps change several things at once.
const MOMENT: Duration = Duration::from_secs(1);

/// What was written last.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    stage: Stage,
    error: Option<(String, bool)>,
}

impl Entry {
    fn of(report: &Report) -> Self {
        let error = report.error.as_ref().map(|error| (error.message.clone(), error.permanent));
        Self { stage: report.stage, error }
    }

    fn gave_up(&self) -> bool {
        matches!(self.error, Some((_, true)))
    }
}

/// Whether there is something worth an entry, given the last one, how long ago it was and how many there were.
fn is_due(last: Option<&Entry>, now: &Entry, ago: Duration, count: u32) -> bool {
    let Some(last) = last else { return true };
    if last == now {
        return false;
    }
    if now.gave_up() {
        return true;
    }
    // Most trouble passes within seconds.
    let is_new = last.error.is_none() && ago >= SOON;
    let turned = last.stage != now.stage || last.gave_up() || is_new;
    ago >= PAUSE || (turned && count < MANY)
}

/// Keeps the diary for as long as the node runs; ends at once where there is no card.
pub(super) async fn run(pi: Arc<Pi>) {
    let Ok(Some(folder)) = pi.blocking(find).await else { return };
    let (mut last, mut at, mut count): (Option<Entry>, _, u32) = (None, Instant::now(), 0);
    loop {
        let now = Entry::of(&pi.status.report());
        if is_due(last.as_ref(), &now, at.elapsed(), count) {
            enter(&pi, folder.clone()).await;
            // A card that cannot be written is not tried any more often.
            (last, at, count) = (Some(now), Instant::now(), count.saturating_add(1));
        }
        if timeout(LOOK, pi.status.turn.notified()).await.is_ok() {
            sleep(MOMENT).await;
        }
    }
}

/// The last entry, when the agent ends.
pub(super) async fn close(pi: &Pi) {
    if let Ok(Some(folder)) = pi.blocking(find).await {
        enter(pi, folder).await;
    }
}

/// The only entry of an agent that cannot start.
pub(super) fn last_word(host: &dyn Host, status: &Status) {
    let Some(folder) = find(host) else { return };
    let clock = facts::unix_ms(host);
    if let Err(error) = write(host, &folder, &status.report(), &status.events(clock), clock) {
        tracing::debug!("no diary on the card: {}", chain(&error));
    }
}

async fn enter(pi: &Pi, folder: PathBuf) {
    let clock = clock_now(pi);
    let (report, events) = (pi.status.report(), pi.status.events(clock));
    match pi.blocking(move |host| write(host, &folder, &report, &events, clock)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!("no diary on the card: {}", chain(&error)),
        Err(error) => tracing::debug!("no diary on the card: {}", chain(&error)),
    }
}

/// The payload's folder on the FAT, where that is mounted.
fn find(host: &dyn Host) -> Option<PathBuf> {
    let folders = MOUNTS.map(|mount| Path::new(mount).join(card::FOLDER));
    folders.into_iter().find(|folder| matches!(host.read(&folder.join(card::CARD)), Ok(Some(_))))
}

fn write(
    host: &dyn Host,
    folder: &Path,
    report: &Report,
    events: &[Event],
    now: u64,
) -> Result<(), HostError> {
    let log: String = events.iter().map(|event| format!("{event}\n")).collect();
    host.write(&folder.join(card::LOG), log.as_bytes(), 0o644, None)?;
    let path = folder.join(card::STATUS);
    let before = host.read(&path)?.unwrap_or_default();
    let text = status(&String::from_utf8_lossy(&before), report, now);
    host.write(&path, text.as_bytes(), 0o644, None)
}

/// `status.txt` with the agent's part made anew.
fn status(before: &str, report: &Report, now: u64) -> String {
    let seed = before.split_once(AGENTS_PART).map_or(before, |(seed, _)| seed).trim_end();
    let time = std::time::UNIX_EPOCH + Duration::from_secs(now / 1000);
    let time = humantime::format_rfc3339_seconds(time);
    let mut text =
        format!("{seed}\n\n{AGENTS_PART}At {time} this node was at the stage {}", report.stage.as_str());
    text.push_str(&format!(": {}.\n", report.word));
    if let Some(error) = &report.error {
        let so = if error.permanent { "It has given up" } else { "It was trying again" };
        text.push_str(&format!("{so}: {}\n", error.message));
    }
    text.push_str(&format!("What happened before is in {}.\n", card::LOG));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(stage: Stage, error: Option<(&str, bool)>) -> Entry {
        Entry { stage, error: error.map(|(text, permanent)| (text.to_owned(), permanent)) }
    }

    #[test]
    fn a_stage_and_the_end_are_written_at_once_and_passing_trouble_is_not() {
        let (soon, late) = (Duration::from_secs(1), Duration::from_secs(601));
        let docker = entry(Stage::Docker, None);
        let trouble = entry(Stage::Docker, Some(("no route", false)));
        let end = entry(Stage::Docker, Some(("no space", true)));
        assert!(is_due(None, &docker, soon, 0));
        assert!(!is_due(Some(&docker), &docker, late, 1));
        assert!(is_due(Some(&docker), &entry(Stage::Swarm, None), soon, 1));
        assert!(!is_due(Some(&docker), &trouble, soon, 1));
        assert!(is_due(Some(&docker), &trouble, late, 1));
        assert!(is_due(Some(&trouble), &end, soon, 500));
        let other = entry(Stage::Docker, Some(("no name server", false)));
        let minute = Duration::from_secs(60);
        assert!(is_due(Some(&docker), &trouble, minute, 1), "the first trouble, when it lasts");
        assert!(!is_due(Some(&trouble), &other, minute, 1), "not every one after it");
        assert!(!is_due(Some(&docker), &trouble, minute, MANY));
    }

    #[test]
    fn a_node_that_goes_to_and_fro_does_not_wear_its_card_out() {
        let (ready, swarm) = (entry(Stage::Ready, None), entry(Stage::Swarm, None));
        let mut count = 0;
        for second in 0..24 * 3600_u64 {
            let (last, now) = if second % 2 == 0 { (&ready, &swarm) } else { (&swarm, &ready) };
            // The last entry is as long ago as the seconds since the last multiple of ten minutes.
            count += u32::from(is_due(Some(last), now, Duration::from_secs(second % 601), count));
        }
        assert!(count <= MANY + 24 * 6, "{count}");
    }

    #[test]
    fn what_the_seed_stage_wrote_stays_and_the_agents_part_is_replaced() {
        let mut report = crate::agent::status::Status::new(Vec::new(), Vec::new()).report();
        let first = status("This card belongs to red01.\n\nNot done:\n- keyboard: x\n", &report, 0);
        report.stage = Stage::Docker;
        let second = status(&first, &report, 1_795_381_200_000);
        assert_eq!(
            second,
            "This card belongs to red01.\n\nNot done:\n- keyboard: x\n\n----- from the agent -----\n\
             At 2026-11-22T21:00:00Z this node was at the stage docker: starting.\n\
             What happened before is in log.txt.\n"
        );
    }
}
