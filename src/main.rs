//! `amarre`
fn main() {}
