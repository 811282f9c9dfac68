//! Chooses the life: without a command, beside a `card.json`, the seed stage; `agent` the service.

use std::error::Error;
use std::io::{Read as _, Write as _};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::{env, io};

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand};
use cluster::delivery;
use cluster::name::{ClusterId, Hostname, NameError};
use firstboot::agent::{self, Options};
use firstboot::engine::Engine;
use firstboot::host::real::RealHost;
use firstboot::remove::Meant;
use firstboot::{adopt, remove, seed};
use tracing_subscriber::EnvFilter;

/// The Pi's side of a cluster made by builder
#[derive(Debug, Parser)]
#[command(name = "firstboot", version)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Take the payload beside this binary onto the root partition (also without a command)
    Seed {
        /// The root file system
        #[arg(long, default_value = "/")]
        root: PathBuf,
        /// The payload's folder; that of this binary without it
        #[arg(long)]
        payload: Option<PathBuf>,
    },
    /// Install Docker, then form or join the swarm, and stay
    Agent(AgentArgs),
    /// Take over a machine that runs, with the delivery on standard input
    Adopt(EngineArgs),
    /// Take the agent off this machine again
    Remove {
        /// Remove Docker, too, if the agent installed it
        #[arg(long)]
        docker: bool,
        /// Only print the packages that --docker purges
        #[arg(long, requires = "docker")]
        simulate: bool,
        /// Only if it is a node of the cluster with this id
        #[arg(long, value_name = "ID", requires = "node", value_parser = cluster_id)]
        cluster: Option<ClusterId>,
        /// Only if it is this node
        #[arg(long, value_name = "NAME", requires = "cluster", value_parser = hostname)]
        node: Option<Hostname>,
        #[command(flatten)]
        engine: EngineArgs,
    },
}

#[derive(Debug, Args)]
struct EngineArgs {
    /// Docker's socket
    #[arg(long, hide = true, default_value = firstboot::engine::SOCKET)]
    docker_socket: PathBuf,
}

#[derive(Debug, Args)]
struct AgentArgs {
    /// Folder with payload, identity and journal
    #[arg(long, hide = true, default_value = agent::STATE)]
    state: PathBuf,
    /// Docker's socket
    #[arg(long, hide = true, default_value = firstboot::engine::SOCKET)]
    docker_socket: PathBuf,
    /// TCP port of the managers' API
    #[arg(long, hide = true, default_value_t = cluster::wire::PORT)]
    port: u16,
}

fn main() -> ExitCode {
    let (root, payload) = match Cli::parse().command {
        Some(Command::Agent(args)) => return run_agent(args),
        Some(Command::Adopt(args)) => return run_once(async |host| adopt(host, &args).await),
        Some(Command::Remove { docker, simulate, cluster, node, engine }) => {
            let meant = cluster.zip(node).map(|(cluster, node)| Meant { cluster, node });
            if simulate {
                return run_once(async |host| simulate_removal(host.as_ref(), meant.as_ref()));
            }
            return run_once(async |host| remove(host, docker, meant.as_ref(), &engine).await);
        }
        Some(Command::Seed { root, payload }) => (root, payload),
        None => ("/".into(), None),
    };
    match card(payload) {
        Ok(card) if seed::is_wanted(&card.fat, &card.folder) => run_seed(RealHost::new(root), &card),
        Ok(card) => {
            usage(&format!("there is no card.json in {}: which command is wanted?", card.payload.display()))
        }
        Err(error) => usage(&format!("cannot use the payload's folder: {error}")),
    }
}

/// The FAT partition and the payload's folder on it.
struct Card {
    payload: PathBuf,
    fat: RealHost,
    folder: PathBuf,
}

/// The card of the payload in this folder, or else around this binary.
fn card(payload: Option<PathBuf>) -> io::Result<Card> {
    let payload = match payload {
        Some(folder) => folder.canonicalize()?,
        None => env::current_exe()?.parent().unwrap_or(Path::new("/")).to_owned(),
    };
    let fat = RealHost::new(payload.parent().unwrap_or(Path::new("/")).to_owned());
    let folder = Path::new("/").join(payload.file_name().unwrap_or_default());
    Ok(Card { payload, fat, folder })
}

/// Runs the seed stage; on the machine itself the same boot then goes on to the normal one.
fn run_seed(root: RealHost, card: &Card) -> ExitCode {
    let outcome = seed::run(&root, &card.fat, &card.folder);
    // systemd shows this on the screen and the serial line. Nobody is there to tell if that fails.
    io::stderr().write_all(outcome.text.as_bytes()).unwrap_or_default();
    if !root.is_machine() {
        return if outcome.hook_is_out { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let Err(error) = seed::go_on(&root, &outcome.card) else { return ExitCode::SUCCESS };
    writeln!(io::stderr(), "cannot go on to the normal boot: {error}").unwrap_or_default();
    // On failure systemd reboots. With our words out that is a normal boot; else it would be this one again, for ever.
    if outcome.hook_is_out { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Runs something that ends, and says on standard error why it did not end well.
fn run_once(work: impl AsyncFnOnce(Arc<RealHost>) -> Result<(), Box<dyn Error>>) -> ExitCode {
    let ended = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Into::into)
        .and_then(|runtime| runtime.block_on(work(Arc::new(RealHost::new("/".into())))));
    let Err(error) = ended else { return ExitCode::SUCCESS };
    writeln!(io::stderr(), "{}", agent::status::chain(error.as_ref())).unwrap_or_default();
    ExitCode::FAILURE
}

async fn adopt(host: Arc<RealHost>, args: &EngineArgs) -> Result<(), Box<dyn Error>> {
    let mut json = Vec::new();
    io::stdin().lock().take(delivery::LIMIT).read_to_end(&mut json)?;
    let outcome = adopt::adopt(host, &Engine::new(&args.docker_socket)?, &json).await?;
    writeln!(io::stdout(), "{}", outcome.as_str())?;
    Ok(())
}

async fn remove(
    host: Arc<RealHost>,
    docker: bool,
    meant: Option<&Meant>,
    args: &EngineArgs,
) -> Result<(), Box<dyn Error>> {
    Ok(remove::remove(host.as_ref(), &Engine::new(&args.docker_socket)?, docker, meant).await?)
}

/// The line begins with a word of ours: a shell's start-up files may print others.
fn simulate_removal(host: &RealHost, meant: Option<&Meant>) -> Result<(), Box<dyn Error>> {
    let packages = remove::packages(host, meant)?.unwrap_or_default();
    writeln!(io::stdout(), "purges: {}", packages.join(" "))?;
    Ok(())
}

fn cluster_id(text: &str) -> Result<ClusterId, NameError> {
    ClusterId::try_from(text)
}

fn hostname(text: &str) -> Result<Hostname, NameError> {
    Hostname::try_from(text)
}

/// Runs the agent on one thread; what blocks runs beside it.
fn run_agent(args: AgentArgs) -> ExitCode {
    let filter = EnvFilter::try_from_env("FIRSTBOOT_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    // The system's journal has its own timestamps.
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .without_time()
        .with_target(false)
        .with_ansi(false)
        .init();
    let options = Options {
        state: args.state,
        docker_socket: args.docker_socket,
        listen: Ipv4Addr::UNSPECIFIED,
        port: args.port,
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!("cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let Err(error) = runtime.block_on(agent::run(Arc::new(RealHost::new("/".into())), options));
    tracing::error!("{}", agent::status::chain(&error));
    // Nothing that still runs on another thread may keep the process.
    runtime.shutdown_background();
    ExitCode::from(agent::EXIT_PERMANENT)
}

fn usage(problem: &str) -> ExitCode {
    let error = Cli::command().error(ErrorKind::MissingSubcommand, problem);
    error.print().unwrap_or_default();
    ExitCode::from(2)
}
