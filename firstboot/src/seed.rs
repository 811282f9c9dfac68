//! The seed stage: identity onto the root partition, without a network.
