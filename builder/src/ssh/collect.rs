//! What machines answer, as a whole: for questions whose answers are small.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use super::Ssh;
use super::batch::{self, End, Event, Job, Limits, Stream};
use crate::host_key::HostKey;
use crate::interrupt::Interrupt;

/// Most bytes that are kept of a machine's answer, and of what it says beside it.
const KEPT: usize = 1024 * 1024;

/// A machine's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// How its command ended.
    pub end: End,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
    /// As [`Event::Ended`] has it.
    pub host_key: Option<HostKey>,
}

/// Runs jobs and gives each machine's answer by its index; `ended` hears of each as it comes.
///
/// # Errors
/// When there can be no runtime.
pub fn collect(
    ssh: &Arc<Ssh>,
    jobs: Vec<Job>,
    limits: Limits,
    interrupt: &Interrupt,
    mut ended: impl FnMut(usize, &Answer),
) -> io::Result<BTreeMap<usize, Answer>> {
    let mut said: BTreeMap<usize, (Vec<u8>, Vec<u8>)> = BTreeMap::new();
    let mut answers = BTreeMap::new();
    batch::run(ssh, jobs, limits, interrupt, &mut |event| {
        match event {
            Event::Said { index, stream, bytes } => {
                let (out, err) = said.entry(index).or_default();
                let kept = if stream == Stream::Out { out } else { err };
                kept.extend(bytes.iter().take(KEPT.saturating_sub(kept.len())));
            }
            Event::Ended { index, end, host_key, .. } => {
                let (out, err) = said.remove(&index).unwrap_or_default();
                let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
                let answer = Answer { end, out: text(out), err: text(err), host_key };
                ended(index, &answer);
                answers.insert(index, answer);
            }
        }
        Ok(())
    })?;
    Ok(answers)
}
