//! A command in user, network and mount namespaces of its own, without root: all that it can reach is
//! the TUN device that is made in there, and whoever started it holds the other end.
//!
//! How it is made:
//!
//! 1. Only a process with one thread may enter a new user namespace, and a program on tokio has many. So
//!    the program starts itself once more as a *helper*: its `main` begins with [`entry`], which does
//!    not return in a helper.
//! 2. The helper unshares. In the new user namespace it has all capabilities, whatever its user, until it
//!    becomes the command: so user 1000 is mapped to user 1000, the interface is set up, and the
//!    command finds itself the user that it was, without rights over the interface. Where the starter is
//!    root, all users are mapped, for programs of root often change their user.
//! 3. The helper makes the device, its addresses and routes, lays its own `/etc/resolv.conf` over the
//!    system's, and hands the device over by `SCM_RIGHTS`.
//! 4. When told so ([`Prepared::start`]) it becomes the command: the child of the starter, in its process
//!    group and at its terminal, so that Ctrl-C, Ctrl-Z and pipelines work as without.
//!
//! Where the helper may not open `/dev/net/tun`, it makes a pair of Ethernet interfaces instead, which
//! takes no file: one end in the command's network, the other in a further one that lives as long as
//! the packet socket in it. That socket is handed over, and serves as the device ([`Tun`]).
//!
//! If the starter dies, the device goes with it, and the command has no network at all: never the
//! machine's.

mod control;
mod helper;
mod maps;
mod names;
mod pair;
mod plan;
mod refusal;

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus};

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;

use crate::SystemError;
use crate::tun::Tun;
use control::{Control, Kind, Received};

pub use helper::entry;
pub use plan::{DevicePlan, Identity, Plan};

/// The first argument of a helper.
const HELPER: &str = "__namespace";

/// Namespaces that stand, and a helper in them that waits to become the command. Dropped, it goes without
/// having run anything.
#[derive(Debug)]
pub struct Prepared {
    child: Option<Child>,
    control: Control,
    tun: Option<Tun>,
    warnings: Vec<String>,
    program: String,
}

/// The command runs.
#[derive(Debug)]
pub struct Running {
    child: Child,
}

/// Why the command did not start.
#[derive(Debug)]
pub enum StartError {
    /// There is no such program: what shells exit with 127 for.
    NotFound(SystemError),
    /// It is there and cannot be run: what shells exit with 126 for.
    NotRunnable(SystemError),
    /// The helper went away before.
    Lost(SystemError),
}

impl StartError {
    /// The exit code that shells, `env` and `nohup` use for it.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            StartError::NotFound(_) => 127,
            StartError::NotRunnable(_) => 126,
            StartError::Lost(_) => 1,
        }
    }
}

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            StartError::NotFound(e) | StartError::NotRunnable(e) | StartError::Lost(e) => e.fmt(f),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            StartError::NotFound(e) | StartError::NotRunnable(e) | StartError::Lost(e) => Some(e),
        }
    }
}

/// Makes the namespaces and what is in them. Blocks for some milliseconds.
///
/// # Errors
/// What the system forbids, with the setting that decides it where one does.
pub fn prepare(plan: &Plan) -> Result<Prepared, SystemError> {
    let failed = |error: io::Error| SystemError::new("start the namespace's helper", error);
    let (control, theirs) = Control::pair().map_err(failed)?;
    let mut command = Command::new(&plan.helper);
    let number = theirs.hand_to(&mut command);
    command.arg(HELPER).arg(number.to_string());
    command.arg(&plan.program).args(&plan.arguments);
    let child = command.spawn().map_err(failed)?;
    drop(theirs);
    let mut prepared = Prepared {
        child: Some(child),
        control,
        tun: None,
        warnings: Vec::new(),
        program: plan.program.to_string_lossy().into_owned(),
    };
    prepared.tell(Kind::Plan, &plan.setting().to_text())?;
    prepared.expect(Kind::Entered)?;
    maps::write(prepared.pid(), plan.identity)?;
    prepared.tell(Kind::Mapped, "")?;
    let ready = prepared.expect(Kind::Ready)?;
    prepared.warnings = ready.text.lines().map(str::to_owned).collect();
    prepared.tun = ready.file.map(Tun::adopt).transpose()?;
    Ok(prepared)
}

/// The helper went away when it was to say something.
fn wordless(error: io::Error) -> SystemError {
    SystemError::new("make the namespace", error).hint(
        "the helper ended without a word: its program must begin with weir_os::namespace::entry()",
    )
}

impl Prepared {
    /// The device, when the plan has one: once.
    pub fn take_tun(&mut self) -> Option<Tun> {
        self.tun.take()
    }

    /// What could not be made and can be done without, a sentence each.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The process that becomes the command.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    /// Becomes the command.
    ///
    /// # Errors
    /// The command is not found or cannot be run.
    pub fn start(mut self) -> Result<Running, StartError> {
        let lost = |error: io::Error| {
            StartError::Lost(SystemError::new(
                "start the command in its namespace",
                error,
            ))
        };
        self.control.send(Kind::Go, "", None).map_err(lost)?;
        // The helper's end is closed by becoming the command: nothing more comes when that went well.
        match self.control.receive().map_err(lost)? {
            None => {}
            Some(Received { text, .. }) => return Err(self.not_started(&text)),
        }
        match self.child.take() {
            Some(child) => Ok(Running { child }),
            None => Err(lost(io::ErrorKind::NotFound.into())),
        }
    }

    fn not_started(&self, errno: &str) -> StartError {
        let errno = errno.parse().unwrap_or(0);
        let mut error = io::Error::from_raw_os_error(errno);
        if error.kind() == io::ErrorKind::PermissionDenied && !is_anywhere(&self.program) {
            // `exec` says so of a name that is nowhere, when some directory of PATH is closed to the user.
            error = io::Error::from_raw_os_error(nix::libc::ENOENT);
        }
        let is_missing = error.kind() == io::ErrorKind::NotFound;
        let error = SystemError::new(format!("run `{}`", self.program), error);
        if is_missing {
            StartError::NotFound(error)
        } else {
            StartError::NotRunnable(error)
        }
    }

    fn tell(&self, kind: Kind, text: &str) -> Result<(), SystemError> {
        match self.control.send(kind, text, None) {
            // It may have said why it went.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.expect(kind).and(Err(wordless(error)))
            }
            result => result.map_err(|error| SystemError::new("make the namespace", error)),
        }
    }

    /// Waits for a message of this kind; the helper's own account of what went wrong is the error.
    fn expect(&self, kind: Kind) -> Result<Received, SystemError> {
        let failed = |error: io::Error| SystemError::new("make the namespace", error);
        match self.control.receive() {
            Ok(Some(received)) if received.kind == kind => Ok(received),
            Ok(Some(received)) if received.kind == Kind::Failed => {
                Err(helper::error_from(&received.text))
            }
            Ok(Some(_)) => Err(failed(io::ErrorKind::InvalidData.into())),
            Ok(None) => Err(wordless(io::ErrorKind::UnexpectedEof.into())),
            // Closed with something unread in it.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Err(wordless(error)),
            Err(error) => Err(failed(error)),
        }
    }
}

/// Whether there is a file of this name in `PATH`, or at all where it is a path.
fn is_anywhere(program: &str) -> bool {
    if program.contains('/') {
        return true;
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
}

impl Drop for Prepared {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It waits for a word from us, or is gone already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Running {
    /// The command's process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends the command a signal, by number. Not after [`wait`](Running::wait).
    ///
    /// # Errors
    /// The system refuses: a command that changed its user may be out of reach.
    pub fn signal(&self, number: i32) -> io::Result<()> {
        let signal = Signal::try_from(number)?;
        kill(self.raw_pid(), signal)?;
        Ok(())
    }

    /// Something to wait on in a thread of its own.
    #[must_use]
    pub fn watch(&self) -> Watch {
        Watch(self.raw_pid())
    }

    /// Waits until the command has ended, and returns how.
    ///
    /// # Errors
    /// The system refuses.
    pub fn wait(&mut self) -> io::Result<ExitStatus> {
        self.child.wait()
    }

    fn raw_pid(&self) -> Pid {
        // Process numbers are at most 2^22.
        Pid::from_raw(i32::try_from(self.child.id()).unwrap_or(i32::MAX))
    }
}

/// Waits for the end of a command without taking it from its [`Running`], so that its number stays its
/// own until then.
#[derive(Clone, Copy, Debug)]
pub struct Watch(Pid);

impl Watch {
    /// Returns when the command has ended.
    pub fn ended(self) {
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
        while waitid(Id::Pid(self.0), flags) == Err(nix::Error::EINTR) {}
    }
}

/// The exit code of one who ran a command for somebody: the command's own, or 128 and the number of the
/// signal that ended it, as shells have it.
#[must_use]
pub fn exit_code(status: ExitStatus) -> u8 {
    let code = match (status.code(), status.signal()) {
        (Some(code), _) => code,
        (None, Some(signal)) => signal.saturating_add(128),
        (None, None) => 1,
    };
    u8::try_from(code & 0xff).unwrap_or(1)
}
