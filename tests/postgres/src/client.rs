//! Addresses, and SQL through `psql`.

use std::io::{Seek as _, Write as _};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::cluster::Cluster;
use crate::place::ROLE;
use crate::processes::until;
use crate::tools::run;

/// The database that every cluster has.
const FIRST_DATABASE: &str = "postgres";
const SQL: Duration = Duration::from_secs(60);
/// libpq's, in seconds. A paused server is found out by then.
const CONNECT: &str = "10";
const RELOAD: Duration = Duration::from_secs(10);

impl Cluster {
    /// The URL of the database `postgres`.
    pub fn url(&self) -> String {
        self.url_of(FIRST_DATABASE)
    }

    /// The URL of a database, whose name is a plain one, as [`Self::create_database`] demands.
    pub fn url_of(&self, database: &str) -> String {
        format!("postgres://{ROLE}@127.0.0.1:{}/{database}", self.port())
    }

    /// Creates a database and answers its URL. Its name has letters, digits, `_` and `-` only.
    pub fn create_database(&self, name: &str) -> Result<String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
        if name.is_empty() || !name.chars().all(plain) {
            bail!("{name:?} would need quoting in a URL; take letters, digits, '_' and '-'");
        }
        self.psql(FIRST_DATABASE, &format!("create database \"{name}\""))?;
        Ok(self.url_of(name))
    }

    /// Runs SQL and answers what it returns: a line per row, columns separated by `|`.
    ///
    /// Each statement is a transaction of its own, unless the SQL says otherwise. The first that fails is the last.
    pub fn psql(&self, database: &str, sql: &str) -> Result<String> {
        // A file, because a pipe could fill up while `psql` waits for its output to be read.
        let mut input = tempfile::tempfile().context("no temporary file can be made")?;
        input.write_all(sql.as_bytes()).and_then(|()| input.rewind()).context("disk full?")?;
        let mut psql = self.place().tools.command("psql");
        psql.args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-d", &self.url_of(database)]);
        psql.env("PGCONNECT_TIMEOUT", CONNECT).stdin(input);
        let answer = run(psql, SQL)
            .with_context(|| format!("in database {database:?}; {}", self.place().log_tail()))?;
        Ok(answer.trim_end().to_owned())
    }

    /// Starts a server that was stopped as a replica in recovery, of a primary that sends it nothing. The SQL
    /// `select pg_promote()` makes it a primary again.
    pub fn start_as_replica(&self) -> Result<()> {
        let signal = self.place().data().join("standby.signal");
        std::fs::write(&signal, "")
            .with_context(|| format!("{} cannot be written", signal.display()))?;
        self.start_again()
    }

    /// Asks for a password of this role from now on. The role `postrider` still needs none.
    pub fn ask_for_password(&self, role: &str) -> Result<()> {
        let file = self.place().data().join("pg_hba.conf");
        let rules = std::fs::read_to_string(&file)
            .and_then(|rules| {
                // The first rule that fits counts.
                std::fs::write(&file, format!("host all {role} all scram-sha-256\n{rules}"))
            })
            .with_context(|| format!("{} cannot be changed", file.display()));
        rules.and_then(|()| self.psql(FIRST_DATABASE, "select pg_reload_conf()").map(drop))
    }

    /// Lets sessions begin their transactions as read-only ones, as on a standby, or no more.
    ///
    /// Returns when new sessions do. Sessions that are open follow at their next statement.
    pub fn set_read_only(&self, read_only: bool) -> Result<()> {
        let wanted = if read_only { "on" } else { "off" };
        let change = format!(
            "alter system set default_transaction_read_only = {wanted}; select pg_reload_conf();"
        );
        self.psql(FIRST_DATABASE, &change)?;
        let done = until(RELOAD, || {
            let current = self.psql(FIRST_DATABASE, "show default_transaction_read_only")?;
            Ok((current == wanted).then_some(()))
        })?;
        done.with_context(|| {
            format!("default_transaction_read_only is not {wanted} {RELOAD:?} after the reload")
        })
    }
}
