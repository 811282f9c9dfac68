//! How a run ends early, and how much it takes.

use std::io::Read;
use std::process::Stdio;

use crate::bench::{Bench, Run, wait_until};
use rustix::process::{Pid, Signal, kill_process};

#[test]
fn ctrl_c_ends_everything() {
    let bench = Bench::new(3);
    // They end by themselves when the folder goes.
    let command =
        format!("cd {} && touch at/$$; while [ -e at/$$ ]; do sleep 0.2; done", bench.path("").display());
    let mut builder = bench.command(&["--hosts", "127.0.0.[1-3]", "--jobs", "2", "--", &command]);
    let builder = builder.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait_until("two machines run the command", || bench.begun() == 2);
    assert_eq!(bench.clients().len(), 2);
    let id = Pid::from_raw(i32::try_from(builder.id()).unwrap()).unwrap();
    kill_process(id, Signal::INT).unwrap();
    let run = Run::new(&bench, &builder.wait_with_output().unwrap());
    assert_eq!(run.code, Some(1));
    assert_eq!(run.error(), "error: interrupted: done on 0 of 3 hosts\n  127.0.0.[1-3]: interrupted\n");
    assert_eq!(bench.clients(), [""; 0]);
    assert_eq!(bench.begun(), 2, "the third was not begun");
}

#[test]
fn endless_output_ends_with_its_reader() {
    let bench = Bench::new(2);
    let mut builder = bench.command(&["--hosts", "127.0.0.[1-2]", "--", "yes"]);
    let mut builder = builder.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut some = [0; 32];
    builder.stdout.take().unwrap().read_exact(&mut some).unwrap();
    let run = Run::new(&bench, &builder.wait_with_output().unwrap());
    assert_eq!(run.code, Some(1), "{run:?}");
    assert!(run.error().starts_with("error: cannot print what the hosts say\n"), "{run:?}");
    assert_eq!(bench.clients(), [""; 0]);
}

#[test]
fn what_is_kept_of_a_machine_is_bounded() {
    let bench = Bench::new(1);
    // Twice as much as is kept, in one line, and a few bytes that are no text.
    let command = "printf '\\377\\000'; head -c 16777216 /dev/zero | tr '\\000' x; exit 4";
    let run = bench.run(&["--hosts", "127.0.0.1", "--json", "--", command]);
    let line: serde_json::Value = serde_json::from_str(&run.out[1]).unwrap();
    assert_eq!((&line["exit"], &line["cut"]), (&4.into(), &true.into()));
    let text = line["stdout"].as_str().unwrap();
    assert!(text.starts_with("\u{fffd}\0xxx") && text.len() < (8 << 20) + 8, "{}", text.len());
}
