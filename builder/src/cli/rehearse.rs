//! `builder rehearse`: boots copies of the built cards as virtual machines, and shows the board until the swarm is formed.
//!
//! Order of effects: what can be refused is refused; cards are copied; network and machines start; whatever happens
//! then, machines and network end first and the copies go last.

use std::io::{self, IsTerminal};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use clap::Args;
use cluster::name::Hostname;
use cluster::wire::Board;

use crate::cli::Globals;
use crate::cli::status::table::waiting_for;
use crate::cli::status::view::View;
use crate::cli::status::{INTERVAL, Screen, Style};
use crate::error::{Failure, Kind};
use crate::interrupt::Interrupt;
use crate::pki::{self, Identities};
use crate::project::{self, Project};
use crate::rehearse::Qemu;
use crate::remote::{Address, Manager, RemoteError};

mod outcome;
mod stage;

use crate::cli::size::Size;
use outcome::{Outcome, RehearsalError};
use stage::Stage;

/// How often machines are looked after.
const LOOK: Duration = Duration::from_millis(100);

/// Boot copies of the built cards as virtual machines
///
/// Shows the board until the swarm is formed; exit code 6 if that takes too
/// long. Needs QEMU, and no root. The cards themselves are only read. Logs are
/// left in CLUSTER.rehearsal beside the cluster file.
#[derive(Debug, Args)]
pub struct RehearseArgs {
    /// Nodes or ranges such as 'red[00-02]', the manager among them; all without it
    #[arg(value_name = "NODE")]
    nodes: Vec<String>,
    /// Where the card images are
    #[arg(long, value_name = "DIR", default_value = "cards")]
    cards: PathBuf,
    /// How long the swarm may take, such as 90s, 15m or 1h
    #[arg(long, value_name = "TIME", default_value = "30m", value_parser = humantime::parse_duration)]
    timeout: Duration,
    /// Keep the copies of the cards, and a formed swarm running until Ctrl-C
    #[arg(long)]
    keep: bool,
    /// Show what a node's machine writes on its console instead of the board
    #[arg(long, value_name = "NODE")]
    console: Option<String>,
    /// Memory of each machine, such as 1GiB or 768MiB
    #[arg(long, value_name = "SIZE", default_value = "1GiB")]
    memory: Size,
    /// Size of each machine's card: what the root partition grows to
    #[arg(long, value_name = "SIZE", default_value = "8GiB")]
    card_size: Size,
}

/// Runs the command.
pub fn run(globals: &Globals, args: &RehearseArgs) -> Result<(), Failure> {
    let project = project::load_for_cards(&globals.file)?;
    let cast = stage::cast(&project, &args.nodes, &args.cards)?;
    let console = args.console.as_ref().map(|name| stage::find(&cast, name)).transpose()?;
    let identities = pki::existing(&project)?;
    let qemu = Qemu::find()?;
    let interrupt =
        Interrupt::listen().map_err(|source| Failure::new(Kind::Failed, RehearsalError::Signals(source)))?;

    let (mut out, mut talk) = (io::stdout(), io::stderr());
    let watches = console.is_none();
    let terminal = watches && out.is_terminal();
    let style = Style { json: globals.json, quiet: globals.quiet, terminal };
    let mut screen = Screen::new(style, watches, &mut out, &mut talk);
    let (follower, lines) =
        console.map(|index| (channel(), index)).map(|((to, from), index)| ((index, to), from)).unzip();
    let mut stage = Stage::set(&project, &qemu, cast, args, follower, &interrupt, &mut screen)?;

    let (targets, wanted) = channel();
    let (news, boards) = channel();
    std::thread::scope(|scope| {
        // It ends with the sender of targets; what it waits for ends with the machines.
        scope.spawn(|| ask(&project, &identities, wanted, news));
        let show = Show { project: &project, args, interrupt: &interrupt, boards, lines };
        let result = show.run(&mut stage, &mut screen, &targets);
        drop((stage, targets));
        result
    })
}

/// Asks the manager for its board, again and again, where it was last found.
fn ask(
    project: &Project,
    identities: &Identities,
    targets: Receiver<SocketAddr>,
    news: Sender<Result<Board, RemoteError>>,
) {
    let mut manager: Option<Manager<'_>> = None;
    loop {
        match targets.recv_timeout(INTERVAL) {
            Ok(target) => {
                let address = target.to_string().parse::<Address>().ok();
                manager = Manager::new(project, identities, address).ok().map(Manager::forgetful);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        if let Some(manager) = &mut manager {
            // Nobody wants the last answer.
            let _unheard = news.send(manager.board());
        }
    }
}

/// What the loop below looks at.
struct Show<'a> {
    project: &'a Project,
    args: &'a RehearseArgs,
    interrupt: &'a Interrupt,
    boards: Receiver<Result<Board, RemoteError>>,
    lines: Option<Receiver<String>>,
}

impl Show<'_> {
    fn run(
        &self,
        stage: &mut Stage,
        screen: &mut Screen<'_>,
        targets: &Sender<SocketAddr>,
    ) -> Result<(), Failure> {
        let mut outcome = Outcome::new(stage, self.args.timeout);
        let started = Instant::now();
        loop {
            if self.interrupt.asked() {
                return Err(outcome.stopped());
            }
            stage.tend(screen)?;
            if let Some(target) = stage.manager()? {
                // The one who asks is there until we go.
                let _sent = targets.send(target);
            }
            self.print_lines(screen)?;
            match self.boards.recv_timeout(LOOK) {
                Ok(Ok(board)) => {
                    let view = View::new(board, self.project).only(stage.names());
                    self.show(&view, screen)?;
                    if view.board.formed {
                        return self.formed(&view, stage, screen);
                    }
                    outcome.seen = Some(view);
                }
                Ok(Err(error)) if error.is_transient() => outcome.trouble = Some(error),
                Ok(Err(error)) => return Err(error.into()),
                Err(_) => {}
            }
            if started.elapsed() >= self.args.timeout {
                if let Some(view) = &outcome.seen {
                    screen.finish(view)?;
                }
                return Err(outcome.too_late());
            }
        }
    }

    fn show(&self, view: &View, screen: &mut Screen<'_>) -> Result<(), Failure> {
        if self.lines.is_some() {
            screen.say(&waiting_for(view));
            return Ok(());
        }
        screen.show_change(view)
    }

    fn print_lines(&self, screen: &mut Screen<'_>) -> Result<(), Failure> {
        let lines: String = self.lines.iter().flat_map(Receiver::try_iter).collect();
        if lines.is_empty() { Ok(()) } else { screen.print(&lines) }
    }

    fn formed(&self, view: &View, stage: &mut Stage, screen: &mut Screen<'_>) -> Result<(), Failure> {
        screen.finish(view)?;
        if !self.args.keep {
            screen.say(&format!("logs of the machines: {}", stage.folder().display()));
            return Ok(());
        }
        let config = self.project.secrets_folder().join("ssh_config");
        for (name, here) in stage.doors()? {
            let (port, config) = (here.port(), config.display());
            screen.say(&format!("{name}: ssh -F {config} -o HostName={} -p {port} {name}", here.ip()));
        }
        screen.say(&format!("logs and copies of the cards: {}", stage.folder().display()));
        screen.say("the machines run until Ctrl-C");
        while !self.interrupt.asked() {
            stage.tend(screen)?;
            self.print_lines(screen)?;
            std::thread::sleep(LOOK);
        }
        Ok(())
    }
}

/// The machines of a rehearsal by number: a node's name and its card.
type Cast = Vec<(Hostname, PathBuf)>;
