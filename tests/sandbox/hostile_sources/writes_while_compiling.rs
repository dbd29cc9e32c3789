// expect: compile_error
fn main() { include_str!("/etc/shadow"); env!("HOME_OF_SECRETS"); }
