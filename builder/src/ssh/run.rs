//! One machine: its `ssh` is started, what it says is passed on as it comes, and it is ended when its time is over.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::io::{self, Read};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::batch::{End, Event, Job, Stream};
use super::host_key;
use super::jump::{self, JumpHosts, Place};
use super::{LOG_LIMIT, Ssh, trouble};
use crate::host_key::HostKey;

/// Most bytes that are passed on at once, and so the longest line that stays whole.
const CHUNK: usize = 64 * 1024;
/// Bytes of the end of standard error that are looked at for what `ssh` or a jump host says there.
const TAIL: usize = 4 * 1024;
/// For `ssh` to end in order; and for silence on its streams after its end, since what it started may hold them open.
const GRACE: Duration = Duration::from_secs(1);
/// How long standard error waits at most for us to be let in.
const HELD: Duration = Duration::from_secs(20);
/// How often we look whether the machine has let us in.
const LOOK: Duration = Duration::from_millis(100);
/// The longest pause after each try whose connection ended early; the last has none. All together about half a minute: after many
/// that failed, OpenSSH 9.8 and newer turn an address away for 15 s and more (sshd_config(5), `PerSourcePenalties`).
const PAUSES: [Option<Duration>; 8] = [
    Some(Duration::from_secs(1)),
    Some(Duration::from_secs(2)),
    Some(Duration::from_secs(4)),
    Some(Duration::from_secs(8)),
    Some(Duration::from_secs(8)),
    Some(Duration::from_secs(8)),
    Some(Duration::from_secs(8)),
    None,
];

/// What a machine needs to be run.
pub(super) struct One<'a> {
    pub(super) ssh: &'a Ssh,
    pub(super) job: &'a Job,
    pub(super) timeout: Option<Duration>,
    pub(super) jump_hosts: &'a JumpHosts,
}

impl One<'_> {
    /// Runs to the end, whatever it is. A connection that ends before we are let in is tried again: an SSH server drops some of
    /// many logins at once (sshd_config(5), `MaxStartups 10:30:100`). Ours are limited, see [`jump`], but others may log in, too.
    pub(super) async fn run(
        &self,
        events: &mpsc::Sender<Event>,
        mut stop: watch::Receiver<bool>,
    ) -> (End, Option<HostKey>) {
        let mut deadline = None;
        for pause in PAUSES {
            let place = tokio::select! {
                place = self.jump_hosts.enter(self.ssh, self.job.index) => place,
                () = until(deadline) => None,
                _ = stop.wait_for(|stop| *stop) => return (End::Interrupted, None),
            };
            // How long others take to log in does not count.
            deadline = deadline.or_else(|| Some(Instant::now() + self.timeout?));
            let Once { end, held, host_key } = self.once(events, &mut stop, deadline, place).await;
            let Some(pause) = pause.filter(|_| matches!(&end, End::Trouble(trouble) if trouble.is_early))
            else {
                if !held.is_empty() {
                    let said = Event::Said { index: self.job.index, stream: Stream::Err, bytes: held };
                    // Nobody listens any more only when the whole run is over.
                    let _unheard = events.send(said).await;
                }
                return (end, host_key);
            };
            tokio::select! {
                () = tokio::time::sleep(some_of(pause)) => {}
                () = until(deadline) => return (end, None),
                _ = stop.wait_for(|stop| *stop) => return (End::Interrupted, None),
            }
        }
        (End::Interrupted, None)
    }

    /// Runs once.
    async fn once(
        &self,
        events: &mpsc::Sender<Event>,
        stop: &mut watch::Receiver<bool>,
        deadline: Option<Instant>,
        mut place: Option<Place>,
    ) -> Once {
        let index = self.job.index;
        let preferred = self.job.only_to.as_ref().and_then(HostKey::preferred);
        let command = self.ssh.command(index, &self.job.words, preferred.as_deref(), place.is_some());
        let Some(mut command) = command else { return Once::of(End::Interrupted) };
        if !self.job.input.is_empty() {
            command.stdin(Stdio::piped());
        }
        // What an earlier command on this machine met is not this one's. The folder is ours: else there was none.
        let _was_there = std::fs::remove_file(self.ssh.log(index));
        let started = command.spawn();
        let mut child = match started {
            Ok(child) => child,
            Err(error) => return Once::of(End::Trouble(trouble::Trouble::not_started(&error))),
        };
        let (over, ended) = watch::channel(false);
        let let_in = Arc::new(watch::Sender::new(false));
        let is_in = let_in.subscribe();
        let spoke = Arc::new(watch::Sender::new(false));
        let mut has_spoken = spoke.subscribe();
        let mut waiting = child.stdin.take();
        if self.job.only_to.is_none()
            && let Some(pipe) = waiting.take()
        {
            self.feed(pipe);
        }
        let pump = |stream| Pump {
            stream,
            index,
            events: events.clone(),
            ended: ended.clone(),
            let_in: Arc::clone(&let_in),
            spoke: Arc::clone(&spoke),
            is_in: let_in.subscribe(),
        };
        let out = child.stdout.take().map(|pipe| tokio::spawn(pump(Stream::Out).run(pipe)));
        let err = child.stderr.take().map(|pipe| tokio::spawn(pump(Stream::Err).run(pipe)));
        let (begun, mut look) = (Instant::now(), tokio::time::interval(LOOK));
        let mut is_other = false;
        let status = loop {
            tokio::select! {
                status = child.wait() => break Some(status),
                () = until(deadline) => break None,
                _ = stop.wait_for(|stop| *stop) => break None,
                // Whoever holds the sender is above.
                _ = has_spoken.wait_for(|spoke| *spoke), if waiting.is_some() => {
                    let pipe = waiting.take();
                    if self.host_key() != self.job.only_to {
                        is_other = true;
                        break None;
                    }
                    pipe.into_iter().for_each(|pipe| self.feed(pipe));
                }
                _ = look.tick(), if place.is_some() || !*is_in.borrow() => {
                    let log = self.read_log();
                    place = place.filter(|_| !jump::has_passed(&log));
                    // Through a connection that another `ssh` holds open, nothing is noted.
                    if begun.elapsed() > HELD || trouble::got_in(&log) {
                        let_in.send_replace(true);
                    }
                }
            }
        };
        if status.is_none() {
            end(&mut child).await;
        }
        drop(place);
        over.send_replace(true);
        if let Some(pump) = out {
            let _nothing = pump.await;
        }
        let Rest { tail, held } = match err {
            Some(pump) => pump.await.unwrap_or_default(),
            None => Rest::default(),
        };
        let log = host_key::without_debug(&self.read_log());
        let end = match status {
            Some(Ok(status)) => match status.code() {
                Some(255) => match trouble::find(&log, &String::from_utf8_lossy(&tail)) {
                    Some(trouble) => End::Trouble(trouble),
                    None => End::Exit(255),
                },
                Some(code) => End::Exit(code),
                None => End::Trouble(trouble::Trouble::killed()),
            },
            Some(Err(error)) => End::Trouble(trouble::Trouble::not_started(&error)),
            None if is_other => End::Trouble(trouble::Trouble::other_machine()),
            None if *stop.borrow() => End::Interrupted,
            None => End::TimedOut { after: self.timeout.unwrap_or_default(), got_in: trouble::got_in(&log) },
        };
        let host_key = matches!(end, End::Exit(_)).then(|| self.host_key()).flatten();
        Once { end, held, host_key }
    }

    /// Writes the input. That ends with the command at the latest, which says by its exit code what it missed.
    fn feed(&self, mut pipe: ChildStdin) {
        let input = self.job.input.clone();
        tokio::spawn(async move {
            for piece in input {
                pipe.write_all(piece.expose()).await?;
            }
            Ok::<_, io::Error>(())
        });
    }

    /// The host key that the machine has proved. Only after its command has ended or has written to standard output, which is
    /// after the key was proved, the log is whole enough for that: a server may write lines to it before.
    fn host_key(&self) -> Option<HostKey> {
        let log = self.read_log();
        // What is beyond might say something else. Text that is not UTF-8 only grows when it is read.
        let is_whole = self.ssh.tells_host_keys && log.len() < LOG_LIMIT;
        is_whole.then(|| host_key::proved(&log)).flatten()
    }

    /// What `ssh` said of itself; nothing if it said nothing.
    fn read_log(&self) -> String {
        let mut bytes = Vec::new();
        let read = |bytes: &mut Vec<u8>| -> io::Result<usize> {
            std::fs::File::open(self.ssh.log(self.job.index))?.take(LOG_LIMIT as u64).read_to_end(bytes)
        };
        // Without it, a 255 counts as the command's own.
        let _read = read(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// When that is; never without.
async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// A random part of a duration, at least a quarter of it: those that were dropped together do not come back together.
fn some_of(longest: Duration) -> Duration {
    // The standard library's own seed for its hash maps is random enough for that.
    let random = RandomState::new().hash_one(());
    let part =
        0.25 + 0.75 * f64::from(u16::try_from(random & 0xffff).unwrap_or_default()) / f64::from(u16::MAX);
    longest.mul_f64(part)
}

/// Ends an `ssh` and what it started, politely first: one that leads others through its connection tidies up.
async fn end(child: &mut Child) {
    let group = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
    for signal in [Signal::TERM, Signal::KILL] {
        if let Some(group) = group {
            // It may have ended meanwhile.
            let _gone = kill_process_group(group, signal);
        }
        if tokio::time::timeout(GRACE, child.wait()).await.is_ok() {
            break;
        }
    }
}

/// How one run ended.
struct Once {
    end: End,
    /// What came on standard error before we were let in: it is worth showing only if this was the last try.
    held: Vec<u8>,
    host_key: Option<HostKey>,
}

impl Once {
    const fn of(end: End) -> Self {
        Self { end, held: Vec::new(), host_key: None }
    }
}

/// Passes one stream on.
struct Pump {
    stream: Stream,
    index: usize,
    events: mpsc::Sender<Event>,
    ended: watch::Receiver<bool>,
    /// Whether the machine has let us in: noted, or heard.
    let_in: Arc<watch::Sender<bool>>,
    /// Whether the command has written to standard output.
    spoke: Arc<watch::Sender<bool>>,
    is_in: watch::Receiver<bool>,
}

/// What is left of a stream at its end.
#[derive(Default)]
struct Rest {
    /// The end of what was said.
    tail: Vec<u8>,
    /// What was not passed on, since we were not let in.
    held: Vec<u8>,
}

impl Pump {
    /// Passes whole lines on as long as they come, and gives the end of what was said. A line without an end goes out
    /// in pieces, so that nothing grows without bound. Standard error waits until we are let in: before, it is a jump host's
    /// `ssh` that speaks there.
    async fn run(mut self, mut pipe: impl AsyncRead + Unpin) -> Rest {
        let mut held: Vec<u8> = Vec::new();
        let mut tail: Vec<u8> = Vec::new();
        let mut buffer = vec![0; 16 * 1024];
        loop {
            let waits = self.stream == Stream::Err && !*self.is_in.borrow();
            let silence = async {
                // An error means that nobody waits for the end any more.
                let _over = self.ended.wait_for(|ended| *ended).await.is_err();
                tokio::time::sleep(GRACE).await;
            };
            let read = tokio::select! {
                read = pipe.read(&mut buffer) => Some(read.unwrap_or(0)),
                () = silence => Some(0),
                changed = self.is_in.changed(), if waits => changed.is_err().then_some(0),
            };
            let new = buffer.get(..read.unwrap_or(0)).unwrap_or_default();
            if self.stream == Stream::Err {
                tail.extend_from_slice(new);
                tail.drain(..tail.len().saturating_sub(TAIL));
            } else if !new.is_empty() {
                // Only the command writes there.
                self.let_in.send_if_modified(|is_in| !std::mem::replace(is_in, true));
                self.spoke.send_if_modified(|spoke| !std::mem::replace(spoke, true));
            }
            held.extend_from_slice(new);
            let is_over = read == Some(0);
            let waits = self.stream == Stream::Err && !*self.is_in.borrow();
            let whole = match held.iter().rposition(|byte| *byte == b'\n') {
                _ if held.len() >= CHUNK => held.len(),
                _ if waits => 0,
                _ if is_over => held.len(),
                Some(at) => at + 1,
                None => 0,
            };
            if whole > 0 {
                let rest = held.split_off(whole);
                let bytes = std::mem::replace(&mut held, rest);
                let said = Event::Said { index: self.index, stream: self.stream, bytes };
                if self.events.send(said).await.is_err() {
                    return Rest { tail, held };
                }
            }
            if is_over {
                return Rest { tail, held };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_are_bounded_and_differ() {
        let longest = Duration::from_secs(8);
        let pauses: Vec<_> = (0..50).map(|_| some_of(longest)).collect();
        assert!(pauses.iter().all(|pause| (longest / 4..=longest).contains(pause)), "{pauses:?}");
        assert!(pauses.iter().any(|pause| *pause != pauses[0]));
    }
}
