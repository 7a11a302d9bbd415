//! What differs between two readings of the settings, and what of it a running daemon takes.

use super::Config;

impl Config {
    /// The names of the settings that differ, in the order of the file.
    pub fn differing(&self, other: &Self) -> Vec<&'static str> {
        let pairs = self.named().into_iter().zip(other.named());
        pairs.filter(|(ours, theirs)| ours != theirs).map(|((name, _), _)| name).collect()
    }

    /// These settings with all of `new` that needs no restart.
    pub fn with_live(&self, new: &Self) -> Self {
        Self {
            hosts: new.hosts.clone(),
            log_level: new.log_level.clone(),
            max_queue: new.max_queue,
            min_free_disk: new.min_free_disk,
            retention: new.retention.clone(),
            ..self.clone()
        }
    }

    /// Every setting by name. The compiler finds one that is missing; values are compared only, never shown.
    fn named(&self) -> [(&'static str, String); super::KEYS.len()] {
        let Self {
            data_dir,
            plugins_dir,
            database,
            listen_notify,
            listen,
            require_token,
            hosts,
            tls,
            log_format,
            log_level,
            grace,
            lease,
            max_body,
            orphan_after,
            max_concurrency,
            max_queue,
            min_free_disk,
            retention,
        } = self;
        let (certificate, key) = match tls {
            Some(files) => (Some(&files.certificate), Some(&files.key)),
            None => (None, None),
        };
        [
            ("data_dir", format!("{data_dir:?}")),
            ("plugins_dir", format!("{plugins_dir:?}")),
            ("database", format!("{database:?}")),
            ("listen_notify", format!("{listen_notify:?}")),
            ("listen", format!("{listen:?}")),
            ("require_token", format!("{require_token:?}")),
            ("hosts", format!("{hosts:?}")),
            ("tls_cert", format!("{certificate:?}")),
            ("tls_key", format!("{key:?}")),
            ("log_format", format!("{log_format:?}")),
            ("log_level", format!("{log_level:?}")),
            ("grace", format!("{grace:?}")),
            ("lease", format!("{lease:?}")),
            ("max_body", format!("{max_body:?}")),
            ("orphan_after", format!("{orphan_after:?}")),
            ("max_concurrency", format!("{max_concurrency:?}")),
            ("max_queue", format!("{max_queue:?}")),
            ("min_free_disk", format!("{min_free_disk:?}")),
            ("retention.finished", format!("{:?}", retention.finished)),
            ("retention.dead", format!("{:?}", retention.dead)),
            ("retention.content", format!("{:?}", retention.content)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Flags, KEYS};
    use super::*;

    fn with(variables: &[(&str, &str)]) -> Config {
        let of = |(name, value): &(&str, &str)| (format!("POSTRIDER_{name}"), (*value).to_owned());
        let variables: Vec<_> = variables.iter().map(of).collect();
        Config::load(&Flags::default(), &variables).unwrap()
    }

    #[test]
    fn every_setting_is_compared_under_its_own_name() {
        let plain = with(&[]);
        let names = plain.named().map(|(name, _)| name.replace("retention.", "retention_"));
        assert_eq!(names, KEYS);
        for (variables, changed) in [
            (&[("DATA_DIR", "x")][..], &["data_dir", "plugins_dir", "database"][..]),
            (&[("PLUGINS_DIR", "x")], &["plugins_dir"]),
            (&[("DATABASE", "sqlite:x")], &["database"]),
            (&[("LISTEN_NOTIFY", "true")], &["listen_notify"]),
            (&[("LISTEN", "127.0.0.1:1")], &["listen"]),
            (&[("REQUIRE_TOKEN", "true")], &["require_token"]),
            (&[("HOSTS", "x.example")], &["hosts"]),
            (&[("TLS_CERT", "x"), ("TLS_KEY", "y")], &["tls_cert", "tls_key"]),
            (&[("LOG_FORMAT", "json")], &["log_format"]),
            (&[("LOG_LEVEL", "warn")], &["log_level"]),
            (&[("GRACE", "1s")], &["grace"]),
            (&[("LEASE", "4s")], &["lease"]),
            (&[("MAX_BODY", "1KiB")], &["max_body"]),
            (&[("ORPHAN_AFTER", "1s")], &["orphan_after"]),
            (&[("MAX_CONCURRENCY", "1")], &["max_concurrency"]),
            (&[("MAX_QUEUE", "1")], &["max_queue"]),
            (&[("MIN_FREE_DISK", "1")], &["min_free_disk"]),
            (&[("RETENTION_FINISHED", "1s")], &["retention.finished"]),
            (&[("RETENTION_DEAD", "1s")], &["retention.dead"]),
            (&[("RETENTION_CONTENT", "1s")], &["retention.content"]),
        ] {
            assert_eq!(plain.differing(&with(variables)), changed);
        }
    }

    #[test]
    fn what_cannot_change_in_a_running_daemon_stays() {
        let old = with(&[("LEASE", "10s")]);
        let new = with(&[("LEASE", "20s"), ("LOG_LEVEL", "warn"), ("RETENTION_DEAD", "1h")]);
        let merged = old.with_live(&new);
        assert_eq!(old.differing(&merged), ["log_level", "retention.dead"]);
        assert_eq!(merged.differing(&new), ["lease"]);
    }
}
