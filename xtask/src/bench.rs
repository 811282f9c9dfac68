//! Measurements that the project promises to keep.

pub(crate) mod build;
