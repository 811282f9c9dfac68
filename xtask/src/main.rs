//! Work around the code: demo, test, ci, bench, dist.
fn main() {}
