//! What to start, and the two ways to start it: in the background, or to its end.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{Program, Signal, spawner};

/// util-linux's program that sets the parent-death signal and then becomes the program. Setting it
/// from Rust between fork and exec would need unsafe code.
const SETPRIV: &str = "setpriv";

/// A program with its arguments and surroundings, not yet started.
#[derive(Debug, Clone)]
pub struct Launch {
    program: PathBuf,
    args: Vec<OsString>,
    env: Vec<(OsString, Option<OsString>)>,
    directory: Option<PathBuf>,
    death_signal: Signal,
}

/// How a program that ran to its end ended, and what it wrote.
#[derive(Debug, Clone)]
pub struct Output {
    /// Exit code or signal.
    pub status: ExitStatus,
    /// Standard output; bytes that are not UTF-8 replaced.
    pub stdout: String,
    /// Standard error; bytes that are not UTF-8 replaced.
    pub stderr: String,
}

impl Output {
    /// Whether it exited with 0.
    #[must_use]
    pub fn success(&self) -> bool {
        self.status.success()
    }

    /// Its standard output.
    ///
    /// # Errors
    /// It did not exit with 0; the error carries what it wrote on standard error.
    pub fn ok(self) -> Result<String> {
        ensure!(
            self.status.success(),
            "{}: {}",
            self.status,
            self.stderr.trim()
        );
        Ok(self.stdout)
    }
}

impl Launch {
    /// The program at this path, or of this name on PATH.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            args: Vec::new(),
            env: Vec::new(),
            directory: None,
            death_signal: Signal::KILL,
        }
    }

    /// One of our programs, by name. A gateway keeps nothing over a restart unless it is told where:
    /// what one test leaves behind is not for the next.
    ///
    /// # Errors
    /// It was not built.
    pub fn ours(name: &str) -> Result<Self> {
        Ok(Self::new(super::binary(name)?).env("VMCP_CACHE_DIR", "none"))
    }

    /// One more argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// More arguments.
    #[must_use]
    pub fn args<I, S>(mut self, args: I) -> Self
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        self.args
            .extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Sets a variable of its environment; the rest is inherited.
    #[must_use]
    pub fn env(mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env
            .push((key.as_ref().to_owned(), Some(value.as_ref().to_owned())));
        self
    }

    /// Removes a variable from its environment.
    #[must_use]
    pub fn env_remove(mut self, key: impl AsRef<OsStr>) -> Self {
        self.env.push((key.as_ref().to_owned(), None));
        self
    }

    /// Sets its working directory.
    #[must_use]
    pub fn current_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// Sets the signal that it gets when this process dies: SIGKILL, unless it has to clean up.
    #[must_use]
    pub fn death_signal(mut self, signal: Signal) -> Self {
        self.death_signal = signal;
        self
    }

    /// Starts it in the background; `log` takes what it writes, after what is there already.
    ///
    /// # Errors
    /// The log cannot be opened or the program not be started.
    pub fn start(&self, log: impl Into<PathBuf>) -> Result<Program> {
        let log = log.into();
        let out = append(&log)?;
        let mut command = self.command()?;
        command
            .stdin(Stdio::null())
            .stderr(out.try_clone().context("the log")?)
            .stdout(out);
        let child = spawner::spawn(command).with_context(|| format!("starting {}", self.name()))?;
        Ok(Program::new(self.name(), child, log))
    }

    /// Starts it with this process's own standard streams, for a person to see.
    ///
    /// # Errors
    /// The program cannot be started.
    pub fn start_inherited(&self) -> Result<Program> {
        let child =
            spawner::spawn(self.command()?).with_context(|| format!("starting {}", self.name()))?;
        Ok(Program::new(self.name(), child, PathBuf::from("/dev/null")))
    }

    /// Starts it so that it outlives this process, in a process group of its own. Whoever calls
    /// this must have made sure that it ends by itself.
    ///
    /// # Errors
    /// The log cannot be opened or the program not be started.
    pub fn start_detached(&self, log: &Path) -> Result<()> {
        use std::os::unix::process::CommandExt;

        let out = append(log)?;
        let mut command = Command::new(&self.program);
        self.surround(&mut command);
        command
            .process_group(0)
            .stdin(Stdio::null())
            .stderr(out.try_clone().context("the log")?)
            .stdout(out);
        spawner::spawn(command).with_context(|| format!("starting {}", self.name()))?;
        Ok(())
    }

    /// Runs it to its end, without input.
    ///
    /// # Errors
    /// It cannot be started, or runs longer than `within` and was killed.
    pub async fn run(&self, within: Duration) -> Result<Output> {
        let folder = tempfile::tempdir().context("a folder for its output")?;
        let (out, err) = (folder.path().join("out"), folder.path().join("err"));
        let mut command = self.command()?;
        command
            .stdin(Stdio::null())
            .stdout(File::create(&out).context("a file for its output")?)
            .stderr(File::create(&err).context("a file for its output")?);
        let child = spawner::spawn(command).with_context(|| format!("starting {}", self.name()))?;
        let program = Program::new(self.name(), child, err.clone());
        let ended = program.wait(within).await;
        let text = |path: &Path| -> Result<String> {
            Ok(String::from_utf8_lossy(&fs::read(path).context("its output")?).into_owned())
        };
        Ok(Output {
            status: ended.with_context(|| format!("it wrote: {}", program.log_tail()))?,
            stdout: text(&out)?,
            stderr: text(&err)?,
        })
    }

    fn command(&self) -> Result<Command> {
        let signal = match self.death_signal {
            Signal::KILL => "KILL",
            Signal::TERM => "TERM",
            other => anyhow::bail!("{other:?} is no signal to end a program with"),
        };
        // setpriv would report a missing program through its own exit code only.
        ensure!(
            self.program.components().count() == 1 || self.program.is_file(),
            "{} does not exist",
            self.program.display()
        );
        let mut command = Command::new(SETPRIV);
        command
            .arg("--pdeathsig")
            .arg(signal)
            .arg("--")
            .arg(&self.program);
        self.surround(&mut command);
        Ok(command)
    }

    fn surround(&self, command: &mut Command) {
        command.args(&self.args);
        for (key, value) in &self.env {
            match value {
                Some(value) => command.env(key, value),
                None => command.env_remove(key),
            };
        }
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
    }

    fn name(&self) -> String {
        self.program
            .file_name()
            .unwrap_or(self.program.as_os_str())
            .to_string_lossy()
            .into_owned()
    }
}

fn append(log: &Path) -> Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(log)
        .with_context(|| format!("opening the log {}", log.display()))
}
