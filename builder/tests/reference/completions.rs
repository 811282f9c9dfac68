//! The scripts that `builder completions` prints know every command and option, each where it belongs.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use crate::bench::{builder, commands, run, text};

/// Commands or options, by the words before them.
type Offers = BTreeMap<Vec<String>, BTreeSet<String>>;

fn script(shell: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let output = builder(folder.path(), &["completions", shell]);
    assert!(output.status.success() && output.stderr.is_empty());
    text(&output.stdout).to_owned()
}

/// Every command and option is among the offers at its place.
fn assert_complete(offers: &Offers) {
    for shown in commands() {
        let offered = offers.get(&shown.words).unwrap_or_else(|| panic!("nothing at {:?}", shown.words));
        for wanted in shown.options().union(&shown.commands()) {
            assert!(offered.contains(wanted), "{wanted} is missing at {:?}", shown.words);
        }
    }
}

/// Has the shell itself look at a script.
fn assert_syntax(shell: &str, check: &str) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("script");
    std::fs::write(&path, script(shell)).unwrap();
    let output = run(Command::new(shell).arg(check).arg(path));
    assert!(output.status.success() && output.stderr.is_empty(), "{}", text(&output.stderr));
}

#[test]
fn each_shell_takes_its_script() {
    assert_syntax("bash", "-n");
    assert_syntax("zsh", "-n");
    assert_syntax("fish", "--no-execute");
}

/// Presses Tab in a real bash: at the end of each command, for commands and then, after a dash, for options.
#[test]
fn bash_offers_every_command_and_option() {
    const ASK: &str = r#"
        ask() {
            COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
            _builder builder "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
            echo "${COMPREPLY[*]}"
        }
    "#;
    let mut program = script("bash") + ASK;
    for shown in commands() {
        let words = shown.words.join(" ");
        program.push_str(&format!("ask builder {words} ''\nask builder {words} -\n"));
    }
    let mut bash = Command::new("bash");
    bash.args(["--norc", "--noprofile", "-c", &program]);
    let output = run(&mut bash);
    assert!(output.status.success() && output.stderr.is_empty(), "{}", text(&output.stderr));
    let mut answers = text(&output.stdout).lines();
    let mut offers = Offers::new();
    for shown in commands() {
        let both = [answers.next().unwrap(), answers.next().unwrap()].join(" ");
        offers.insert(shown.words, both.split_whitespace().map(str::to_owned).collect());
    }
    assert_complete(&offers);
}

#[test]
fn bash_offers_values_where_there_is_a_choice() {
    let program =
        script("bash") + "COMP_WORDS=(builder completions f) COMP_CWORD=2\n_builder builder f completions\n";
    let program = program + "echo \"${COMPREPLY[*]}\"";
    let mut bash = Command::new("bash");
    let output = run(bash.args(["--norc", "--noprofile", "-c", &program]));
    assert_eq!(text(&output.stdout), "fish\n", "{}", text(&output.stderr));
}

/// Reads lines such as `complete -c builder -n "__fish_builder_using_subcommand exec" -s u -l user -d 'Who' -r`.
#[test]
fn fish_is_told_every_command_and_option() {
    let mut offers = Offers::new();
    for line in script("fish").lines() {
        let Some(rest) = line.strip_prefix("complete -c builder -n \"") else { continue };
        let (condition, rest) = rest.split_once('"').unwrap();
        let using = condition.strip_prefix("__fish_builder_using_subcommand ").unwrap_or_default();
        // At a command with commands, the condition goes on with: and not one of them.
        let using = using.split_once("; and not ").map_or(using, |(using, _)| using);
        let words = using.replace("; and __fish_seen_subcommand_from", "");
        let words = words.split_whitespace().map(str::to_owned).collect();
        let offered = offers.entry(words).or_default();
        // What follows is for people.
        let told: Vec<_> = rest.split(" -d '").next().unwrap().split_whitespace().collect();
        for pair in told.windows(2) {
            match *pair {
                ["-s", short] => offered.insert(format!("-{short}")),
                ["-l", long] => offered.insert(format!("--{long}")),
                ["-a", name] => offered.insert(name.trim_matches('"').to_owned()),
                _ => false,
            };
        }
    }
    assert_complete(&offers);
}

/// Reads a tree of `case $line[1] in`, whose arms `(exec)` hold lines such as `'--user=[Who logs in]:NAME:_default' \`.
#[test]
fn zsh_is_told_every_command_and_option() {
    let mut offers = Offers::new();
    // The open cases: whether it is one of commands, and in which arm of it we are.
    let mut cases: Vec<(bool, String)> = Vec::new();
    for line in script("zsh").lines().map(str::trim) {
        if line.starts_with("case ") {
            cases.push((line == "case $line[1] in", String::new()));
        } else if line == "esac" {
            cases.pop();
        } else if let Some(arm) = line.strip_prefix('(').and_then(|line| line.strip_suffix(')')) {
            cases.last_mut().unwrap().1 = arm.to_owned();
        } else if let Some(of) = line.strip_suffix("_commands() {") {
            // From here on come the lists of commands, `'exec:Run a command' \`, each named for the command it is of.
            cases = of.split("__subcmd__").skip(1).map(|word| (true, word.to_owned())).collect();
        } else if let Some(told) = line.strip_prefix('\'') {
            let words = cases.iter().filter(|(is_command, _)| *is_command).map(|(_, arm)| arm.clone());
            // What it excludes, and whether it may be repeated, come first.
            let told =
                told.strip_prefix('(').and_then(|told| told.split_once(')')).map_or(told, |(_, rest)| rest);
            let name = told.trim_start_matches('*').split(['[', '=', '+', ':']).next().unwrap();
            offers.entry(words.collect()).or_default().insert(name.to_owned());
        }
    }
    assert_complete(&offers);
}

#[test]
fn another_shell_is_a_wrong_usage_that_names_those_there_are() {
    let folder = tempfile::tempdir().unwrap();
    let output = builder(folder.path(), &["completions", "tcsh"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("[possible values: bash, zsh, fish]"));
}
