//! Child processes: their logs, CPU time and memory.
//!
//! No child outlives the benchmark: a [`Process`] is killed by its number and reaped when it is
//! dropped. If a signal ends the benchmark, all children are killed and reaped
//! ([`end_all_on_signals`]). With setpriv(1), they also die if the benchmark is killed.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, ensure};
use nix::time::ClockId;
use nix::unistd::Pid;

use super::clock;

/// Every process that runs, by its number.
static RUNNING: Mutex<BTreeMap<u32, Child>> = Mutex::new(BTreeMap::new());

/// How often to check whether a process has ended.
const LOOK: Duration = Duration::from_millis(20);

/// A running process, whose standard error is read line by line.
#[derive(Debug)]
pub(crate) struct Process {
    id: u32,
    name: String,
    log: Receiver<String>,
}

impl Process {
    /// Starts `command`, whose standard output goes to `out`.
    pub(crate) fn start(command: &Command, out: Stdio) -> anyhow::Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        let mut command = tied(command);
        command.stdin(Stdio::null()).stdout(out).stderr(Stdio::piped());
        // Locked until the child is in the map, so that a signal between the two cannot miss the
        // child.
        let mut running = running();
        let mut child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        let errors = child.stderr.take();
        let id = child.id();
        running.insert(id, child);
        drop(running);

        let (line, log) = channel();
        if let Some(errors) = errors {
            thread::spawn(move || {
                for read in BufReader::new(errors).lines().map_while(Result::ok) {
                    // The receiver may be gone, but the pipe must not fill up.
                    let _ = line.send(read);
                }
            });
        }
        Ok(Self { id, name, log })
    }

    /// The next line of its log, waited for at most `patience`.
    pub(crate) fn next_line(&self, patience: Duration) -> anyhow::Result<String> {
        self.log.recv_timeout(patience).with_context(|| format!("{} logs nothing", self.name))
    }

    /// The lines of its log so far that have not been read yet.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.log.try_iter().collect()
    }

    /// Waits at most `patience` for it to end by itself. Returns its status, and the lines that
    /// have not been read yet.
    pub(crate) fn finish(&self, patience: Duration) -> anyhow::Result<(ExitStatus, Vec<String>)> {
        let mut waited = Duration::ZERO;
        loop {
            let ended = running().get_mut(&self.id).map(Child::try_wait).transpose()?.flatten();
            if let Some(status) = ended {
                return Ok((status, self.log.iter().collect()));
            }
            ensure!(waited < patience, "{} does not end in time", self.name);
            thread::sleep(LOOK);
            waited += LOOK;
        }
    }

    /// CPU time of all its threads so far, user and system, to the nanosecond.
    pub(crate) fn cpu(&self) -> anyhow::Result<Duration> {
        let id = i32::try_from(self.id).context("a process number out of range")?;
        let clock = ClockId::pid_cpu_clock_id(Pid::from_raw(id));
        clock.map_err(anyhow::Error::from).and_then(clock::read).with_context(|| self.gone())
    }

    /// Resident memory, in octets.
    pub(crate) fn resident(&self) -> anyhow::Result<u64> {
        let status =
            fs::read_to_string(format!("/proc/{}/status", self.id)).with_context(|| self.gone())?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
        let kibibytes: u64 = kibibytes.context("no VmRSS in /proc")?.trim().parse()?;
        Ok(kibibytes * 1024)
    }

    fn gone(&self) -> String {
        format!("{} (process {}) is gone", self.name, self.id)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(child) = running().remove(&self.id) {
            end(child);
        }
    }
}

/// The same command, which dies with this process (`PR_SET_PDEATHSIG`) if setpriv(1) is installed.
fn tied(command: &Command) -> Command {
    let program = command.get_program();
    let mut tied = if is_installed("setpriv") {
        let mut setpriv = Command::new("setpriv");
        setpriv.args(["--pdeathsig", "KILL"]).arg(program);
        setpriv
    } else {
        Command::new(program)
    };
    tied.args(command.get_args());
    tied.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    tied
}

/// Whether `program` is in a directory of `PATH`.
pub(crate) fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
}

/// The standard output of `program`; `None` if it is not installed or fails.
pub(crate) fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().ok()?;
    let mut text = String::new();
    let read = child.stdout.take().map(|mut out| out.read_to_string(&mut text));
    let ended = child.wait().is_ok_and(|status| status.success());
    (ended && read.is_some_and(|read| read.is_ok())).then_some(text)
}

/// Makes SIGINT, SIGTERM and SIGHUP end every child, then this process.
pub(crate) fn end_all_on_signals() -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};

    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let mut signals = runtime.block_on(async {
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        kinds.map(signal).into_iter().collect::<Result<Vec<_>, _>>()
    })?;
    thread::spawn(move || {
        runtime.block_on(std::future::poll_fn(|context| {
            let mut ready = signals.iter_mut().map(|signal| signal.poll_recv(context).is_ready());
            if ready.any(|ready| ready) {
                std::task::Poll::Ready(())
            } else {
                std::task::Poll::Pending
            }
        }));
        // The lock is kept, so that no further child is started.
        let mut running = running();
        std::mem::take(&mut *running).into_values().for_each(end);
        std::process::exit(130);
    });
    Ok(())
}

fn running() -> MutexGuard<'static, BTreeMap<u32, Child>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

fn end(mut child: Child) {
    // It may have ended by itself. Its number is free only after it has been reaped.
    let _ = child.kill();
    let _ = child.wait();
}
