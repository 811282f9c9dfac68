//! Many machines at once: so many at a time, each for so long, and what they say in the order in which it comes.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cluster::secret::Secret;
use tokio::sync::{Semaphore, mpsc, watch};

use super::Ssh;
use super::jump::JumpHosts;
use super::run::One;
use super::trouble::Trouble;
use crate::host_key::HostKey;
use crate::interrupt::Interrupt;

/// Pieces of output on their way, of 64 KiB at most: a machine that talks faster than it is listened to has to wait.
const ON_THE_WAY: usize = 32;
/// How often we look whether we were asked to end.
const LOOK: Duration = Duration::from_millis(50);

/// How a machine's run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The command ended; its exit code. 255 is also said of one that a signal ended.
    Exit(i32),
    /// `ssh` could not run it, or lost it.
    Trouble(Trouble),
    /// It took too long and was given up. What it started there may go on.
    TimedOut {
        /// After how long.
        after: Duration,
        /// Whether the machine had let us in, so that the command was begun.
        got_in: bool,
    },
    /// We were asked to end.
    Interrupted,
}

/// Which of a command's two streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// What happens on a machine; `index` counts from 0 in the order of [`Ssh::hosts`].
#[derive(Debug)]
pub enum Event {
    /// It said something: whole lines, but for the last and for very long ones.
    Said {
        /// Which machine.
        index: usize,
        /// On which stream.
        stream: Stream,
        /// What.
        bytes: Vec<u8>,
    },
    /// It ended; nothing more is said.
    Ended {
        /// Which machine.
        index: usize,
        /// How.
        end: End,
        /// After how long.
        took: Duration,
        /// The host key that it has proved, if its command ended and the machines are to tell
        /// ([`Ssh::telling_host_keys`]).
        host_key: Option<HostKey>,
    },
}

/// What one machine is to do.
#[derive(Debug, Clone)]
pub struct Job {
    /// Which machine, in the order of [`Ssh::hosts`].
    pub index: usize,
    /// The command's words.
    pub words: Arc<Vec<String>>,
    /// Its standard input, piece after piece; none without.
    pub input: Vec<Arc<Secret<Vec<u8>>>>,
    /// The host key of the machine that the input is for. A machine with another gets none of it. The command has to write
    /// something to its standard output before it reads, and the `ssh` must be [`Ssh::telling_host_keys`].
    pub only_to: Option<HostKey>,
}

impl Job {
    /// The same command on all machines.
    pub fn everywhere(ssh: &Ssh, words: &[String]) -> Vec<Self> {
        let words = Arc::new(words.to_vec());
        (0..ssh.hosts().len())
            .map(|index| Self { index, words: Arc::clone(&words), input: Vec::new(), only_to: None })
            .collect()
    }
}

/// How many at a time, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Most machines at once; at least 1.
    pub jobs: usize,
    /// For each machine, from its own beginning; for ever without.
    pub timeout: Option<Duration>,
}

/// Runs commands on machines and tells what happens, each machine's end among it. A connection that ends before we are let in
/// is tried again, see [`super::run`]. One that fails or hangs holds up no other, but for its place among the [`Limits::jobs`] and
/// at its jump host, see [`super::jump`]. Returns when all have ended; then no `ssh` is left.
///
/// # Errors
/// When the listener fails, which ends all machines; when there can be no runtime.
pub fn run(
    ssh: &Arc<Ssh>,
    jobs: Vec<Job>,
    limits: Limits,
    interrupt: &Interrupt,
    listener: &mut dyn FnMut(Event) -> io::Result<()>,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut events = start(ssh, jobs, limits);
        let mut result = Ok(());
        let mut look = tokio::time::interval(LOOK);
        loop {
            tokio::select! {
                event = events.next.recv() => match event {
                    Some(event) if result.is_ok() => result = listener(event),
                    Some(_) => {}
                    None => return result,
                },
                _ = look.tick() => {}
            }
            if interrupt.asked() || result.is_err() {
                events.stop.send_replace(true);
            }
        }
    })
}

struct Events {
    next: mpsc::Receiver<Event>,
    stop: watch::Sender<bool>,
}

fn start(ssh: &Arc<Ssh>, jobs: Vec<Job>, limits: Limits) -> Events {
    let (sender, next) = mpsc::channel(ON_THE_WAY);
    let (stop, stopped) = watch::channel(false);
    let places = Arc::new(Semaphore::new(limits.jobs.clamp(1, Semaphore::MAX_PERMITS)));
    let jump_hosts = Arc::new(JumpHosts::new(jobs.len().min(limits.jobs)));
    for job in jobs {
        let (ssh, places, jump_hosts) = (Arc::clone(ssh), Arc::clone(&places), Arc::clone(&jump_hosts));
        let (events, stopped) = (sender.clone(), stopped.clone());
        tokio::spawn(async move {
            // Places are given in the order in which they were asked for.
            let place = places.acquire().await;
            let begun = Instant::now();
            let (end, host_key) = if *stopped.borrow() || place.is_err() {
                (End::Interrupted, None)
            } else {
                let one = One { ssh: &ssh, job: &job, timeout: limits.timeout, jump_hosts: &jump_hosts };
                one.run(&events, stopped).await
            };
            drop(place);
            // Nobody listens any more only when the whole run is over.
            let ended = Event::Ended { index: job.index, end, took: begun.elapsed(), host_key };
            let _unheard = events.send(ended).await;
        });
    }
    Events { next, stop }
}
