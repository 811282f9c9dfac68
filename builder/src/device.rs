//! Card readers and the disks in them: what there is, whether it may be erased, and the only way to its bytes.
//!
//! What a disk is comes from the kernel (sysfs and procfs), never from its name. The order is fixed by types: a [`Disk`]
//! is found, [`guard`] gives the reasons against it, [`claim`] opens it for nobody else and looks again, and only the
//! [`claim::Claimed`] that results can be written.

pub mod claim;
pub mod contents;
pub mod guard;
pub mod list;
pub mod medium;
pub(crate) mod presence;
mod refusal;
mod signature;

pub use claim::Claimed;
pub use guard::Demand;
pub use list::{Bus, Disk, Kernel};
pub use medium::Medium;
pub use refusal::Refusal;
