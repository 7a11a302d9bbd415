//! What `do` can be. The tests have this file too: a behaviour without a test there does not compile.

#[derive(Clone, Copy)]
pub(crate) enum Behaviour {
    /// Posts the content to `url`.
    Post,
    /// Connects to `address`.
    Socket,
    /// Reads `path`.
    File,
    /// Counts variables and arguments.
    Env,
    /// Keeps a million handles.
    Handles,
    /// Keeps 400 more handles with each delivery, and counts those deliveries.
    Leak,
    /// A header of 512 KiB.
    Header,
    /// 64 MiB to stdout.
    Stdout,
}

impl Behaviour {
    pub(crate) fn of(text: &str) -> Option<Self> {
        Some(match text {
            "post" => Self::Post,
            "socket" => Self::Socket,
            "file" => Self::File,
            "env" => Self::Env,
            "handles" => Self::Handles,
            "leak" => Self::Leak,
            "header" => Self::Header,
            "stdout" => Self::Stdout,
            _ => return None,
        })
    }
}
