//! The cache of downloaded and decompressed images.
//! STUB on this branch: the sources part has the real one.

use std::path::Path;

use crate::error::Failure;

#[derive(Debug)]
pub struct Cache;

impl Cache {
    pub fn open(_folder: Option<&Path>) -> Result<Self, Failure> {
        Ok(Self)
    }
}
