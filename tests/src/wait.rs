//! Waiting for something to become true, with a deadline.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Asks `probe` until it answers `Some`, ten times a second; `what` names the thing in the error.
///
/// # Errors
/// When `probe` fails, or has not answered when `limit` is over.
pub fn until<T>(what: &str, limit: Duration, probe: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    every(Duration::from_millis(100), what, limit, probe)
}

/// As [`until`], with `pause` between two questions.
///
/// # Errors
/// As [`until`].
pub fn every<T>(
    pause: Duration,
    what: &str,
    limit: Duration,
    mut probe: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(answer) = probe()? {
            return Ok(answer);
        }
        if Instant::now() > deadline {
            bail!("{what}: not within {} s", limit.as_secs());
        }
        thread::sleep(pause);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_the_answer_as_soon_as_it_is_there_and_names_what_never_came() {
        let mut left = 2;
        let answer = until("countdown", Duration::from_secs(5), || {
            left -= 1;
            Ok((left == 0).then_some("now"))
        });
        assert_eq!(answer.unwrap(), "now");
        let never = until::<()>("the flood", Duration::ZERO, || Ok(None)).unwrap_err();
        assert_eq!(never.to_string(), "the flood: not within 0 s");
    }
}
