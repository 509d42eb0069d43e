//! The policies are embedded in the binary (`gatelog init`): a new file among them must be seen.

fn main() {
    println!("cargo::rerun-if-changed=policies");
}
