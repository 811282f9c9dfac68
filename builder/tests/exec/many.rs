//! Many machines at once, and how their output looks.

use std::fs;

use crate::bench::Bench;

/// Waits on each machine until all 20 are there: only if they run at the same time does it ever end.
const MEET: &str = "touch at/$$; while [ $(ls at | wc -l) -lt 20 ]; do sleep 0.1; done; echo met";

#[test]
fn twenty_machines_run_at_the_same_time() {
    let bench = Bench::new(20);
    let at = format!("cd {}; {MEET}", bench.path("").display());
    let run = bench.run(&["--hosts", "127.0.0.[1-20]", "--timeout", "2m", "--", &at]);
    assert_eq!(run.code, Some(0), "{run:?}");
    let mut wanted: Vec<_> = (1..=20).map(|last| format!("127.0.0.{last}: met")).collect();
    wanted.sort();
    assert_eq!(run.out, wanted);
    assert_eq!(run.talk, "done on 20 of 20 hosts\n");
}

#[test]
fn no_more_run_at_once_than_are_allowed() {
    let bench = Bench::new(6);
    let count = format!("cd {}; touch at/$$; ls at | wc -l; sleep 0.5; rm at/$$", bench.path("").display());
    let run = bench.run(&["--hosts", "127.0.0.[1-6]", "--jobs", "2", "--", &count]);
    assert_eq!((run.code, run.out.len()), (Some(0), 6), "{run:?}");
    let seen: Vec<u32> =
        run.out.iter().map(|line| line.rsplit(' ').next().unwrap().parse().unwrap()).collect();
    assert!(seen.iter().all(|count| (1..=2).contains(count)), "{seen:?}");
}

#[test]
fn the_lessons_file_and_its_words_do_as_they_are() {
    let bench = Bench::new(4);
    let text = "manager: 127.0.0.1\nworker:\n- 127.0.0.2\n- 127.0.0.3\n- 127.0.0.4\n";
    fs::write(bench.path("hostnames.yaml"), text).unwrap();
    let run = bench.run(&["-f", "hostnames.yaml", "--", "uname", "-a"]);
    assert_eq!((run.code, run.out.len()), (Some(0), 4), "{run:?}");
    assert!(run.out[0].starts_with("127.0.0.1: Linux "), "{run:?}");
    // A pipe that is quoted is the machine's; words are joined as ssh does.
    let run = bench.run(&["-f", "hostnames.yaml", "127.0.0.[2-3]", "--", "echo   'a b' |", "tr a c"]);
    assert_eq!(run.out, ["127.0.0.2: c b", "127.0.0.3: c b"], "{run:?}");
}

#[test]
fn equal_outputs_are_folded() {
    let bench = Bench::new(5);
    let command = "set -- $SSH_CONNECTION; case $3 in *.4) echo other >&2; exit 2;; *) echo same; esac";
    let run = bench.command(&["--hosts", "127.0.0.[1-5]", "--group", "--", command]).output().unwrap();
    assert_eq!(
        String::from_utf8(run.stdout).unwrap(),
        "127.0.0.[1-3,5] (4):\nsame\n127.0.0.4 (1), exit code 2: nothing on standard output\n"
    );
    assert_eq!(
        String::from_utf8(run.stderr).unwrap(),
        "127.0.0.4 (1), standard error:\nother\nerror: done on 4 of 5 hosts\n  127.0.0.4: exit code 2\n"
    );
    assert_eq!(run.status.code(), Some(6));
}

#[test]
fn programs_get_json() {
    let bench = Bench::new(2);
    let command = "set -- $SSH_CONNECTION; printf 'a\\377\\n'; echo oh >&2; case $3 in *.2) exit 7; esac";
    let run = bench.run(&["--hosts", "127.0.0.[1-2]", "--json", "--", command]);
    let lines: Vec<serde_json::Value> =
        run.out.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(run.code, Some(6));
    // What failed is the last line, which is the first one in order.
    assert_eq!((&lines[0]["host"], &lines[0]["code"]), (&().into(), &6.into()));
    assert_eq!(lines[0]["error"], "done on 1 of 2 hosts\n  127.0.0.2: exit code 7");
    for (line, host, exit) in [(&lines[1], "127.0.0.1", 0), (&lines[2], "127.0.0.2", 7)] {
        assert_eq!((&line["host"], &line["exit"]), (&host.into(), &exit.into()));
        assert_eq!((&line["stdout"], &line["stderr"]), (&"a\u{fffd}\n".into(), &"oh\n".into()));
        assert!(line["seconds"].as_f64().unwrap() > 0.0 && line["trouble"].is_null());
    }
}
