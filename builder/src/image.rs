//! Reading OS images: partitions, the FAT, the release, the root partition.

pub mod decode;
