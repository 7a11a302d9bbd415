//! Who is at the other end of a connection, before it says anything.

/// A connection as its listener saw it. The doorman and the guard find it in each request's extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    pub who: Who,
    /// Whether we encrypt the connection.
    pub tls: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// Over a unix socket, by the user that the daemon runs as, or by root.
    Owner { uid: u32 },
    /// Over a unix socket, by somebody else whom its file's mode lets in.
    OtherUser { uid: u32 },
    /// Over TCP on this machine, where that is enough.
    Loopback,
    /// Over TCP where it takes a token.
    Network,
}

impl Who {
    /// Whoever connected over a unix socket, as the kernel says.
    pub fn over_unix(uid: u32, own: u32) -> Self {
        if uid == own || uid == 0 { Self::Owner { uid } } else { Self::OtherUser { uid } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_user_and_root_are_owners() {
        assert_eq!(Who::over_unix(1_000, 1_000), Who::Owner { uid: 1_000 });
        assert_eq!(Who::over_unix(0, 1_000), Who::Owner { uid: 0 });
        assert_eq!(Who::over_unix(1_001, 1_000), Who::OtherUser { uid: 1_001 });
    }
}
