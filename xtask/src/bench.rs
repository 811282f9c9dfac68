//! Measurements that the project promises to keep.

pub(crate) mod api;
pub(crate) mod boot;
pub(crate) mod build;
mod command;
pub(crate) mod config;
pub(crate) mod flash;
mod image;
mod setting;
