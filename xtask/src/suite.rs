//! `cargo xtask test`: formatting, lints, then every test, with one sum at the end. `--all` begins with the set-up of a fresh
//! machine.

use std::io::{BufRead, BufReader};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result};
use clap::Args;

use crate::{agents, fresh, setup};

/// Arguments of `cargo xtask test`.
#[derive(Debug, Args)]
pub(crate) struct TestArgs {
    /// Only tests whose name contains this
    filter: Option<String>,
    /// Only this package
    #[arg(short, long)]
    package: Option<String>,
    /// Leave formatting and lints out
    #[arg(long)]
    no_lint: bool,
    /// Every release and the power cuts, too: about two hours
    #[arg(long)]
    all: bool,
}

/// Sets up the machine, builds the product, runs every test and prints the sum alone on the last line.
pub(crate) fn run(args: &TestArgs) -> Result<ExitCode> {
    setup::ensure_machine()?;
    if !args.no_lint {
        lint()?;
    }
    if args.all {
        fresh::ensure_passed()?;
    }
    let builder = agents::product()?;
    let image = setup::make_images(args.all)?;
    let mut cargo = Command::new("cargo");
    cargo
        .current_dir(setup::workspace())
        .args(["test", "--locked", "--no-fail-fast"])
        .env("BUILDER_PRODUCT", builder.parent().context("builder lies in no folder")?)
        .env("BUILDER_TEST_IMAGE", image)
        .stdout(Stdio::piped());
    match &args.package {
        Some(package) => cargo.args(["--package", package]),
        None => cargo.arg("--workspace"),
    };
    cargo.arg("--");
    if args.all {
        cargo.arg("--include-ignored");
    }
    cargo.args(&args.filter);
    let mut child = cargo.spawn().context("cannot start cargo test")?;
    let mut sum = Sum::default();
    for line in BufReader::new(child.stdout.take().context("cargo has no output")?).lines() {
        let line = line.context("cannot read cargo's output")?;
        sum.add(&line);
        say_out(&line);
    }
    let status = child.wait()?;
    say_out(&format!("{} passed, {} failed", sum.passed, sum.failed));
    // A test binary that does not compile or dies has no summary line, but cargo's exit status tells.
    Ok(if status.success() && sum.failed == 0 && sum.passed > 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn lint() -> Result<()> {
    setup::say("checking formatting and lints");
    let cargo = |args: &[&str]| {
        let mut cargo = Command::new("cargo");
        cargo.current_dir(setup::workspace()).args(args);
        cargo
    };
    setup::run(&mut cargo(&["fmt", "--all", "--check"]))?;
    let clippy = ["clippy", "--quiet", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"];
    setup::run(&mut cargo(&clippy))
}

/// Test output is this command's data.
fn say_out(line: &str) {
    use std::io::Write;
    // The reader went away; the exit code still tells.
    let _unwritten = writeln!(std::io::stdout().lock(), "{line}");
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Sum {
    passed: u64,
    failed: u64,
}

impl Sum {
    /// Adds a line such as `test result: ok. 12 passed; 0 failed; 0 ignored; …`.
    fn add(&mut self, line: &str) {
        let Some(counts) = line.strip_prefix("test result: ").and_then(|rest| rest.split_once(". ")) else {
            return;
        };
        for count in counts.1.split("; ") {
            match count.split_once(' ').map(|(number, word)| (number.parse::<u64>(), word)) {
                Some((Ok(number), "passed")) => self.passed += number,
                Some((Ok(number), "failed")) => self.failed += number,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_the_results_of_every_test_binary() {
        let mut sum = Sum::default();
        sum.add(
            "test result: ok. 12 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s",
        );
        sum.add("test result: FAILED. 3 passed; 2 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s");
        sum.add("test a_name_with_passed ... ok");
        assert_eq!(sum, Sum { passed: 15, failed: 2 });
    }
}
