//! QEMU's own protocol (QMP) over one end of a socket pair, of which QEMU has the other as its standard input. When
//! QEMU ends, so does the stream: that is how its end is noticed.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use thiserror::Error;

/// How long QEMU may take for an answer. It is busy at times, when all guests boot at once.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// Why there is no answer.
#[derive(Debug, Error)]
pub(super) enum MonitorError {
    #[error("it has ended")]
    Ended,
    #[error("it does not answer")]
    Silent,
    #[error("{0}")]
    Refused(String),
}

/// Why a guest stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// It asked for a reboot.
    Reset,
    /// It switched itself off.
    Shutdown,
    /// QEMU is gone, or stopped it for a reason of its own.
    Other,
}

/// A line to a running QEMU.
#[derive(Debug)]
pub(super) struct Monitor {
    line: Mutex<Line>,
    state: Arc<State>,
}

#[derive(Debug)]
struct Line {
    stream: UnixStream,
    answers: Receiver<Value>,
}

#[derive(Debug, Default)]
struct State {
    stopped: Mutex<Option<Stop>>,
    changed: Condvar,
}

impl State {
    fn lock(&self) -> MutexGuard<'_, Option<Stop>> {
        self.stopped.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first reason counts: what comes after a reboot is only QEMU's own end.
    fn stop(&self, reason: Stop) {
        self.lock().get_or_insert(reason);
        self.changed.notify_all();
    }
}

impl Monitor {
    /// Greets QEMU, and so waits until it has taken all its arguments.
    pub(super) fn open(stream: UnixStream) -> Result<Self, MonitorError> {
        let reader = stream.try_clone().map_err(|_| MonitorError::Ended)?;
        let (sender, answers) = channel();
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for line in BufReader::new(reader).lines().map_while(Result::ok) {
                let Ok(message) = serde_json::from_str::<Value>(&line) else { continue };
                if let Some(stop) = stop(&message) {
                    shared.stop(stop);
                } else if message.get("return").is_some() || message.get("error").is_some() {
                    // Who asked may have given up waiting.
                    let _unheard = sender.send(message);
                }
            }
            shared.stop(Stop::Other);
        });
        let monitor = Self { line: Mutex::new(Line { stream, answers }), state };
        monitor.execute("qmp_capabilities", &json!({}))?;
        Ok(monitor)
    }

    /// Runs a command and gives what it returns.
    pub(super) fn execute(&self, command: &str, arguments: &Value) -> Result<Value, MonitorError> {
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        let question = json!({ "execute": command, "arguments": arguments }).to_string() + "\n";
        line.stream.write_all(question.as_bytes()).map_err(|_| MonitorError::Ended)?;
        let mut answer = line.answers.recv_timeout(ANSWER_TIMEOUT).map_err(|error| match error {
            RecvTimeoutError::Timeout => MonitorError::Silent,
            RecvTimeoutError::Disconnected => MonitorError::Ended,
        })?;
        if let Some(error) = answer.pointer("/error/desc").and_then(Value::as_str) {
            return Err(MonitorError::Refused(error.to_owned()));
        }
        Ok(answer.get_mut("return").map(Value::take).unwrap_or_default())
    }

    /// Runs a command of the monitor for people, which says nothing when all is well.
    pub(super) fn command(&self, line: &str) -> Result<(), MonitorError> {
        let said = self.execute("human-monitor-command", &json!({ "command-line": line }))?;
        match said.as_str().map(str::trim) {
            None | Some("") => Ok(()),
            Some(said) => Err(MonitorError::Refused(said.to_owned())),
        }
    }

    /// Why the guest stopped, if it did; waits for it at most so long.
    pub(super) fn stopped(&self, wait: Duration) -> Option<Stop> {
        let deadline = Instant::now() + wait;
        let mut stopped = self.state.lock();
        while stopped.is_none() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            (stopped, _) =
                self.state.changed.wait_timeout(stopped, left).unwrap_or_else(PoisonError::into_inner);
        }
        *stopped
    }
}

/// What a message says about the guest's end.
fn stop(message: &Value) -> Option<Stop> {
    if message.get("event")? != "SHUTDOWN" {
        return None;
    }
    Some(match message.pointer("/data/reason").and_then(Value::as_str) {
        Some("guest-reset") => Stop::Reset,
        Some("guest-shutdown") => Stop::Shutdown,
        _ => Stop::Other,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_a_reboot_from_a_shutdown() {
        let event = |reason: &str| json!({"event": "SHUTDOWN", "data": {"guest": true, "reason": reason}});
        assert_eq!(stop(&event("guest-reset")), Some(Stop::Reset));
        assert_eq!(stop(&event("guest-shutdown")), Some(Stop::Shutdown));
        assert_eq!(stop(&event("host-qmp-quit")), Some(Stop::Other));
        assert_eq!(stop(&json!({"event": "STOP"})), None);
        assert_eq!(stop(&json!({"return": {}})), None);
    }

    #[test]
    fn the_first_reason_counts_and_silence_is_none() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let qemu = std::thread::spawn(move || {
            let mut lines = BufReader::new(theirs.try_clone().unwrap()).lines();
            let say = |text: &str| (&theirs).write_all(text.as_bytes()).unwrap();
            say("{\"QMP\": {}}\r\n");
            lines.next().unwrap().unwrap();
            say("{\"return\": {}}\r\n");
            lines.next().unwrap().unwrap();
            say("{\"return\": \"no such netdev\\r\\n\"}\r\n");
            say("{\"event\": \"SHUTDOWN\", \"data\": {\"reason\": \"guest-reset\"}}\r\n");
        });
        let monitor = Monitor::open(ours).unwrap();
        assert_eq!(monitor.stopped(Duration::ZERO), None);
        let refused = monitor.command("hostfwd_add x").unwrap_err();
        assert_eq!(refused.to_string(), "no such netdev");
        assert_eq!(monitor.stopped(Duration::from_secs(10)), Some(Stop::Reset));
        qemu.join().unwrap();
        assert!(matches!(monitor.execute("quit", &json!({})), Err(MonitorError::Ended)));
        assert_eq!(monitor.stopped(Duration::ZERO), Some(Stop::Reset));
    }
}
