//! The fingerprint of a cluster's CA, shown when this computer uses it for the first time: a secrets folder may be a copy or part
//! of a repository, whose author has its keys.

use crate::cache::Cache;
use crate::error::Failure;
use crate::pki::CaFingerprint;
use crate::report::Progress;

/// Shows the fingerprint unless this user's cache knows it.
///
/// # Errors
/// When the cache cannot be used.
pub(super) fn show(
    ca: &CaFingerprint,
    cluster: &str,
    cache: &Cache,
    progress: &Progress,
) -> Result<(), Failure> {
    if cache.is_first_use(ca)? {
        progress.say(&format!("first use of the CA of {cluster} here; its certificate has SHA-256 {ca}"));
    }
    Ok(())
}
