//! Versions of a database's schema, whichever database it is.

/// How a database and this postrider stand to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schema {
    /// The database's version; zero of an empty one.
    pub found: i64,
    /// The oldest version that a postrider must know to work on it.
    pub oldest: i64,
    /// The newest version that this postrider knows.
    pub known: i64,
}

impl Schema {
    /// Whether this postrider can work on it, once it has migrated what is missing.
    pub fn fits(&self) -> bool {
        self.oldest <= self.known
    }

    /// Whether migrations are missing.
    pub fn is_behind(&self) -> bool {
        self.found < self.known
    }
}
