//! The driver: steps in order, reports on the way.
