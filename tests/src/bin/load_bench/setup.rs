//! What a daemon is to do: its store, its destinations, and what they are given.

use std::net::SocketAddr;

use postrider_tests::wire::post;

/// Attempts at once that the daemon gives a destination that says nothing.
const DEFAULT_CONCURRENCY: &str = "default";

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Store {
    Sqlite,
    Postgres,
}

/// Who gets the requests.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answers {
    /// The receiver of this bench, 200.
    Always,
    /// The same; every tenth request is answered by 500.
    NineOfTen,
    /// The same, but for the last two destinations: one is refused the connection, one never answered.
    EightOfTen,
    /// nginx, 200.
    Nginx,
}

/// What sends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Module {
    Webhook,
    /// The project of a language, as `cargo xtask examples` built it.
    Example(&'static str),
}

#[derive(Clone, Copy)]
pub(crate) struct Setup {
    pub(crate) store: Store,
    pub(crate) destinations: usize,
    /// Whether each notification goes to all of them; else to exactly one.
    pub(crate) fan_out: bool,
    /// Copies of the module under several names.
    pub(crate) plugins: usize,
    pub(crate) module: Module,
    pub(crate) reuse: bool,
    /// Bytes of a notification's content.
    pub(crate) content: usize,
    pub(crate) answers: Answers,
    /// One more destination, whose module never returns.
    pub(crate) looping: bool,
    /// One more destination, for what is to wait.
    pub(crate) held: bool,
    /// Daemons on one database.
    pub(crate) hosts: usize,
}

/// The bytes of a request that hands a notification in.
pub(crate) struct Order {
    pub(crate) request: Vec<u8>,
    /// How many of its deliveries will come.
    pub(crate) arrivals: usize,
}

impl Setup {
    pub(crate) fn new(store: Store, destinations: usize) -> Self {
        Self {
            store,
            destinations,
            fan_out: false,
            plugins: 1,
            module: Module::Webhook,
            reuse: false,
            content: 1 << 10,
            answers: Answers::Always,
            looping: false,
            held: false,
            hosts: 1,
        }
    }

    /// In words, with the settings that are not the daemon's own.
    pub(crate) fn says(&self, concurrency: Option<u32>) -> String {
        let concurrency =
            concurrency.map_or_else(|| DEFAULT_CONCURRENCY.to_owned(), |n| n.to_string());
        let reuse = if self.reuse { "reused" } else { "fresh" };
        format!("{reuse}, concurrency {concurrency}, content {} B", self.content)
    }

    /// Whether what goes to this destination comes.
    pub(crate) fn arrives(&self, place: usize) -> bool {
        self.answers != Answers::EightOfTen || place + 2 < self.destinations
    }

    /// One request for each destination, or one for all of them.
    pub(crate) fn orders(&self) -> Vec<Order> {
        let places = if self.fan_out { 1 } else { self.destinations };
        let arrivals = |place| match self.fan_out {
            true => (0..self.destinations).filter(|place| self.arrives(*place)).count(),
            false => usize::from(self.arrives(place)),
        };
        let order = |place| Order {
            request: post("/v1/notifications", &self.notification(place)),
            arrivals: arrivals(place),
        };
        (0..places).map(order).collect()
    }

    /// Deliveries of a notification.
    pub(crate) fn fan(&self) -> usize {
        if self.fan_out { self.destinations } else { 1 }
    }

    /// The JSON of a notification for a destination.
    pub(crate) fn notification(&self, place: usize) -> String {
        self.of_type(&self.kind(place))
    }

    /// The type of what goes to a destination.
    fn kind(&self, place: usize) -> String {
        if self.fan_out { "load.all".to_owned() } else { format!("load.{place}") }
    }

    /// The JSON of a notification.
    pub(crate) fn of_type(&self, kind: &str) -> String {
        format!(
            r#"{{"type":"{kind}","source":"bench","labels":{{"severity":"low"}},"content":{}}}"#,
            self.content()
        )
    }

    /// The content as the receiver gets it.
    pub(crate) fn content(&self) -> String {
        format!("\"{}\"", "x".repeat(self.content - 2))
    }

    /// The path that a destination posts to.
    pub(crate) fn path(&self, place: usize) -> String {
        match self.answers {
            Answers::NineOfTen => format!("/flaky/{place}"),
            Answers::EightOfTen if place + 1 == self.destinations => format!("/hang/{place}"),
            _ => format!("/ok/{place}"),
        }
    }

    /// The TOML of a destination.
    pub(crate) fn destination(
        &self,
        place: usize,
        receiver: SocketAddr,
        concurrency: Option<u32>,
    ) -> String {
        let dead = self.answers == Answers::EightOfTen && place + 2 == self.destinations;
        // Nobody listens on the first port.
        let origin = if dead { "http://127.0.0.1:1".into() } else { format!("http://{receiver}") };
        let mut toml = format!(
            "plugin = \"m{}\"\nmatch.type = \"{}\"\nallow = [\"{origin}\"]\n\
             allow_private = true\nconfig.url = \"{origin}{}\"\n",
            place % self.plugins,
            self.kind(place),
            self.path(place)
        );
        if matches!(self.module, Module::Example(_)) {
            toml += "config.channel = \"#ops\"\n";
        }
        if self.reuse {
            toml += "reuse = { count = 1000000, age = \"1h\" }\n";
        }
        if let Some(concurrency) = concurrency {
            toml += &format!("policy.concurrency = {concurrency}\n");
        }
        // By default a failure waits for so long that what waits would fill the producers' bound.
        if self.answers == Answers::NineOfTen {
            toml += "policy.backoff = [\"1s\"]\n";
        }
        toml
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECEIVER: SocketAddr =
        SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9);

    #[test]
    fn the_last_two_of_a_sick_setup_never_arrive() {
        let setup = Setup { answers: Answers::EightOfTen, ..Setup::new(Store::Sqlite, 10) };

        let arrivals: Vec<usize> = setup.orders().iter().map(|order| order.arrivals).collect();
        let fanned_out: Vec<usize> =
            Setup { fan_out: true, ..setup }.orders().iter().map(|order| order.arrivals).collect();

        assert_eq!(arrivals.iter().sum::<usize>(), 8);
        assert_eq!(fanned_out, [8]);
        assert!(setup.destination(8, RECEIVER, None).contains("127.0.0.1:1/ok/8"));
        assert!(setup.destination(9, RECEIVER, None).contains("127.0.0.1:9/hang/9"));
    }

    #[test]
    fn a_destination_says_only_what_is_not_the_default() {
        let setup = Setup::new(Store::Sqlite, 1);

        let toml = setup.destination(0, RECEIVER, None);
        let more = Setup { reuse: true, ..setup }.destination(0, RECEIVER, Some(9));

        assert!(!toml.contains("reuse") && !toml.contains("concurrency"), "{toml}");
        assert!(more.contains("reuse") && more.contains("policy.concurrency = 9"), "{more}");
        assert_eq!(setup.content().len(), 1 << 10);
    }
}
