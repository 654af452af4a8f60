//! pipenotify
fn main() {}
