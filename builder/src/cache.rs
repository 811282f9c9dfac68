//! The cache of downloaded and decompressed images.
