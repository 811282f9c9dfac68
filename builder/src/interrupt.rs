//! Ctrl-C and SIGTERM: as a question that can be asked at any time, so that what was begun is ended in order, or as the
//! end of a program whose work cannot ask.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::signal::unix::{SignalKind, signal};

use crate::error::{Failure, Kind};
use crate::report;

/// Whether we have been asked to end.
#[derive(Debug, Clone)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Takes both signals from now on, until the process ends.
    ///
    /// # Errors
    /// When the system does not let us.
    pub fn listen() -> io::Result<Self> {
        let asked = Arc::new(AtomicBool::new(false));
        let shared = Arc::clone(&asked);
        on_signal(move || shared.store(true, Ordering::Relaxed))?;
        Ok(Self(asked))
    }

    /// Whether we have been asked to end.
    pub fn asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Ends the program on either signal with a cleared progress bar, a message and exit code 1. For work that does not ask an
/// [`Interrupt`] and whose results have no name yet.
#[derive(Debug)]
pub struct EndOnSignal {
    armed: Arc<Mutex<bool>>,
}

#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
struct Interrupted;

impl EndOnSignal {
    /// Takes both signals from now on. `undo` runs before the program ends.
    ///
    /// # Errors
    /// When the system does not let us.
    pub fn listen(undo: impl FnOnce() + Send + 'static) -> io::Result<Self> {
        let armed = Arc::new(Mutex::new(true));
        let shared = Arc::clone(&armed);
        on_signal(move || {
            // Held until the end, so that nobody disarms what has begun.
            let armed = shared.lock().unwrap_or_else(PoisonError::into_inner);
            if *armed {
                undo();
                report::clear_bar();
                // No JSON: the main thread may be in the middle of printing a document.
                let _code = Failure::new(Kind::Failed, Interrupted).report(false);
                end();
            }
        })?;
        Ok(Self { armed })
    }

    /// Ignores both signals from now on: what is left takes no time.
    pub fn disarm(self) {
        *self.armed.lock().unwrap_or_else(PoisonError::into_inner) = false;
    }
}

#[expect(
    clippy::disallowed_methods,
    clippy::exit,
    reason = "the main thread is at work and cannot be asked; no file of it has a name, so its guards have nothing to do"
)]
fn end() -> ! {
    std::process::exit(Kind::Failed.code().into())
}

/// Runs something, once, when either signal comes.
fn on_signal(then: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let entered = runtime.enter();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    drop(entered);
    std::thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        });
        then();
    });
    Ok(())
}
