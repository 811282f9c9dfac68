//! Brings an image from a path or URL into the cache.
