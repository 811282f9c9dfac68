//! Finds the firstboot binary for an image's architecture and checks its ELF header.
