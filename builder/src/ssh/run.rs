//! One machine: its `ssh` is started, what it says is passed on as it comes, and it is ended when its time is over.

use std::io::{self, Read};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::Child;
use tokio::sync::{mpsc, watch};

use super::batch::{End, Event, Job, Stream};
use super::{LOG_LIMIT, Ssh, trouble};

/// Most bytes that are passed on at once, and so the longest line that stays whole.
const CHUNK: usize = 64 * 1024;
/// Bytes of the end of standard error that are looked at for what `ssh` or a jump host says there.
const TAIL: usize = 4 * 1024;
/// For `ssh` to end in order; and for silence on its streams after its end, since what it started may hold them open.
const GRACE: Duration = Duration::from_secs(1);

/// What a machine needs to be run.
pub(super) struct One<'a> {
    pub(super) ssh: &'a Ssh,
    pub(super) job: &'a Job,
    pub(super) timeout: Option<Duration>,
}

impl One<'_> {
    /// Runs to the end, whatever it is.
    pub(super) async fn run(&self, events: &mpsc::Sender<Event>, mut stop: watch::Receiver<bool>) -> End {
        let index = self.job.index;
        let Some(host) = self.ssh.hosts().get(index) else { return End::Interrupted };
        let mut command = self.ssh.command(index, host, &self.job.words);
        if self.job.input.is_some() {
            command.stdin(Stdio::piped());
        }
        // What an earlier command on this machine met is not this one's. The folder is ours: else there was none.
        let _was_there = std::fs::remove_file(self.ssh.log(index));
        let started = command.spawn();
        let mut child = match started {
            Ok(child) => child,
            Err(error) => return End::Trouble(trouble::Trouble::not_started(&error)),
        };
        let (over, ended) = watch::channel(false);
        if let (Some(mut pipe), Some(input)) = (child.stdin.take(), self.job.input.clone()) {
            // Ends with the command at the latest, which says by its exit code what it missed.
            tokio::spawn(async move { pipe.write_all(input.expose()).await });
        }
        let pump = |stream| Pump { stream, index, events: events.clone(), ended: ended.clone() };
        let out = child.stdout.take().map(|pipe| tokio::spawn(pump(Stream::Out).run(pipe)));
        let err = child.stderr.take().map(|pipe| tokio::spawn(pump(Stream::Err).run(pipe)));
        let limit = async {
            match self.timeout {
                Some(timeout) => tokio::time::sleep(timeout).await,
                None => std::future::pending().await,
            }
        };
        let status = tokio::select! {
            status = child.wait() => Some(status),
            () = limit => None,
            _ = stop.wait_for(|stop| *stop) => None,
        };
        if status.is_none() {
            end(&mut child).await;
        }
        over.send_replace(true);
        if let Some(pump) = out {
            let _tail = pump.await;
        }
        let tail = match err {
            Some(pump) => pump.await.unwrap_or_default(),
            None => Vec::new(),
        };
        let log = self.read_log();
        match status {
            Some(Ok(status)) => match status.code() {
                Some(255) => match trouble::find(&log, &String::from_utf8_lossy(&tail)) {
                    Some(trouble) => End::Trouble(trouble),
                    None => End::Exit(255),
                },
                Some(code) => End::Exit(code),
                None => End::Trouble(trouble::Trouble::killed()),
            },
            Some(Err(error)) => End::Trouble(trouble::Trouble::not_started(&error)),
            None if *stop.borrow() => End::Interrupted,
            None => End::TimedOut { after: self.timeout.unwrap_or_default(), got_in: trouble::got_in(&log) },
        }
    }

    /// What `ssh` said of itself; nothing if it said nothing.
    fn read_log(&self) -> String {
        let mut bytes = Vec::new();
        let read = |bytes: &mut Vec<u8>| -> io::Result<usize> {
            std::fs::File::open(self.ssh.log(self.job.index))?.take(LOG_LIMIT).read_to_end(bytes)
        };
        // Without it, a 255 counts as the command's own.
        let _read = read(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    }
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

/// Passes one stream on.
struct Pump {
    stream: Stream,
    index: usize,
    events: mpsc::Sender<Event>,
    ended: watch::Receiver<bool>,
}

impl Pump {
    /// Passes whole lines on as long as they come, and gives the end of what was said. A line without an end goes out
    /// in pieces, so that nothing grows without bound.
    async fn run(mut self, mut pipe: impl AsyncRead + Unpin) -> Vec<u8> {
        let mut held: Vec<u8> = Vec::new();
        let mut tail: Vec<u8> = Vec::new();
        let mut buffer = vec![0; 16 * 1024];
        loop {
            let silence = async {
                // An error means that nobody waits for the end any more.
                let _over = self.ended.wait_for(|ended| *ended).await.is_err();
                tokio::time::sleep(GRACE).await;
            };
            let read = tokio::select! {
                read = pipe.read(&mut buffer) => read.unwrap_or(0),
                () = silence => 0,
            };
            let new = buffer.get(..read).unwrap_or_default();
            if self.stream == Stream::Err {
                tail.extend_from_slice(new);
                tail.drain(..tail.len().saturating_sub(TAIL));
            }
            held.extend_from_slice(new);
            let whole = match held.iter().rposition(|byte| *byte == b'\n') {
                _ if read == 0 || held.len() >= CHUNK => held.len(),
                Some(at) => at + 1,
                None => 0,
            };
            if whole > 0 {
                let rest = held.split_off(whole);
                let bytes = std::mem::replace(&mut held, rest);
                let said = Event::Said { index: self.index, stream: self.stream, bytes };
                if self.events.send(said).await.is_err() {
                    return tail;
                }
            }
            if read == 0 {
                return tail;
            }
        }
    }
}
