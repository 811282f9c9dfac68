//! Lays planned cards over copies of the base.
