//! A real browser without a screen: Debian's Chromium, by the protocol of `WebDriver`.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "for tests only: a browser that does not do what it is told ends its test"
)]

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::daemon::{PATIENCE, http};

const DRIVER: &str = "chromedriver";
/// The key of an element's number in answers.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// One window. Closed when dropped.
pub struct Browser {
    driver: Child,
    port: u16,
    session: String,
    _profile: TempDir,
}

/// Keys that have no character.
pub mod key {
    pub const TAB: &str = "\u{e004}";
    pub const ENTER: &str = "\u{e007}";
    pub const ESCAPE: &str = "\u{e00c}";
    pub const SPACE: &str = " ";
}

impl Browser {
    /// Opens a window, or answers none where the machine has no browser: said loudly, and in the pipeline an error.
    ///
    /// # Panics
    /// With `CI=true` where there is none.
    #[expect(clippy::print_stderr, reason = "what is skipped is said loudly")]
    pub async fn open() -> Option<Self> {
        let found = std::process::Command::new(DRIVER).arg("--version").output();
        if !found.is_ok_and(|found| found.status.success()) {
            let how = "`apt-get install chromium chromium-driver` brings it";
            let in_pipeline = std::env::vars().any(|(name, value)| name == "CI" && value == "true");
            assert!(!in_pipeline, "there is no {DRIVER} on this machine; {how}");
            eprintln!("SKIPPED: there is no {DRIVER} on this machine; {how}");
            return None;
        }
        let profile = tempfile::tempdir().unwrap();
        let mut command = Command::new(DRIVER);
        command.arg("--port=0").stdout(Stdio::piped()).stderr(Stdio::null());
        let mut driver = command.kill_on_drop(true).spawn().unwrap();
        let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        let port = async {
            while let Some(line) = lines.next_line().await.unwrap() {
                let port = line
                    .rsplit_once("on port ")
                    .and_then(|(_, port)| port.trim_end_matches('.').parse::<u16>().ok())
                    // The first line says what was asked for.
                    .filter(|port| *port > 0);
                if let Some(port) = port {
                    return port;
                }
            }
            panic!("{DRIVER} does not say its port");
        };
        let port = timeout(PATIENCE, port).await.unwrap();
        let session = String::new();
        let mut browser = Self { driver, port, session, _profile: profile };
        // It writes on, and must not wait for a reader.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let profile = format!("--user-data-dir={}", browser._profile.path().display());
        let arguments = json!([
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--no-first-run",
            "--window-size=1280,900",
            profile,
        ]);
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "goog:chromeOptions": {"args": arguments},
            "goog:loggingPrefs": {"browser": "ALL"},
        }}});
        let answer = browser.ask("POST", "/session", wanted).await;
        browser.session = answer["sessionId"].as_str().unwrap().to_owned();
        Some(browser)
    }

    pub async fn go(&self, url: &str) {
        self.send("url", json!({"url": url})).await;
    }

    /// Runs a script in the page: a function's body. Answers what it returns.
    pub async fn run(&self, script: &str) -> Value {
        self.send("execute/sync", json!({"script": script, "args": []})).await
    }

    /// Everything that a reader sees.
    pub async fn text(&self) -> String {
        let text = self.run("return document.body.innerText").await;
        text.as_str().unwrap_or_default().to_owned()
    }

    /// Waits until an expression in the page is true.
    ///
    /// # Panics
    /// With what the page shows where it never is.
    pub async fn until(&self, expression: &str) {
        let script = format!("return Boolean({expression})");
        let mut ticks = interval(Duration::from_millis(30));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let asking = async {
            loop {
                ticks.tick().await;
                if self.run(&script).await == Value::Bool(true) {
                    return;
                }
            }
        };
        if timeout(PATIENCE / 3, asking).await.is_err() {
            panic!("it never came that {expression}; the page shows:\n{}", self.text().await);
        }
    }

    /// Waits until the page shows a text.
    pub async fn until_text(&self, text: &str) {
        self.until(&format!("document.body.innerText.includes({})", json!(text))).await;
    }

    /// Clicks what a reader would click: it must be seen, and nothing may lie over it. Waits until it is there.
    pub async fn click(&self, xpath: &str) {
        let quoted = json!(xpath);
        self.until(&format!(
            "document.evaluate({quoted}, document, null, 9, null).singleNodeValue"
        ))
        .await;
        let found = self.send("element", json!({"using": "xpath", "value": xpath})).await;
        let id = found[ELEMENT].as_str().unwrap();
        self.send(&format!("element/{id}/click"), json!({})).await;
    }

    /// Types into whatever has the focus.
    pub async fn keys(&self, text: &str) {
        let press = text.chars().flat_map(|key| {
            [json!({"type": "keyDown", "value": key}), json!({"type": "keyUp", "value": key})]
        });
        let keys: Vec<Value> = press.collect();
        let actions = json!({"actions": [{"type": "key", "id": "keys", "actions": keys}]});
        self.send("actions", actions).await;
    }

    /// The name of what has the focus, as a screen reader would say it.
    pub async fn focused(&self) -> String {
        let script = "const at = document.activeElement; \
             return at.getAttribute('aria-label') ?? at.innerText ?? at.name ?? at.tagName";
        self.run(script).await.as_str().unwrap_or_default().to_owned()
    }

    /// What the page complained about since it was last asked: errors of scripts, refused content, failed requests.
    pub async fn complaints(&self) -> Vec<String> {
        let lines = self.send("se/log", json!({"type": "browser"})).await;
        let severe = lines.as_array().unwrap().iter().filter(|line| line["level"] == "SEVERE");
        severe.map(|line| line["message"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// A command of Chromium's own protocol.
    pub async fn chromium(&self, command: &str, parameters: Value) -> Value {
        self.send("goog/cdp/execute", json!({"cmd": command, "params": parameters})).await
    }

    /// Dark or light, and how large; `scale` is that of the screen.
    pub async fn look(&self, scheme: &str, width: u32, height: u32) {
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        self.chromium("Emulation.setEmulatedMedia", json!({"features": features})).await;
        let size = json!({
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600,
        });
        self.chromium("Emulation.setDeviceMetricsOverride", size).await;
    }

    /// Keeps a picture of the page beside the other things that tests leave.
    pub async fn picture(&self, name: &str) -> PathBuf {
        let shot = self.chromium("Page.captureScreenshot", json!({"format": "png"})).await;
        let image = STANDARD.decode(shot["data"].as_str().unwrap()).unwrap();
        let directory = pictures();
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join(format!("{name}.png"));
        std::fs::write(&path, image).unwrap();
        path
    }

    async fn send(&self, command: &str, body: Value) -> Value {
        self.ask("POST", &format!("/session/{}/{command}", self.session), body).await
    }

    async fn ask(&self, method: &str, path: &str, body: Value) -> Value {
        let url = format!("http://127.0.0.1:{}{path}", self.port);
        let request = http().request(method.parse().unwrap(), url).body(body.to_string());
        let answer = request.send().await.unwrap();
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        let mut answer: Value = serde_json::from_str(&text).unwrap();
        assert!(status.is_success(), "{path} {body:.300}: {answer:#}");
        answer["value"].take()
    }
}

/// Where pictures are kept.
fn pictures() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let target = std::env::var_os("CARGO_TARGET_DIR");
    target.map_or_else(|| root.join("target"), PathBuf::from).join("page")
}

impl Drop for Browser {
    /// Also when a test fails: a driver that is killed leaves its browser behind.
    fn drop(&mut self) {
        let close = || -> std::io::Result<()> {
            let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
            stream.set_read_timeout(Some(Duration::from_secs(10)))?;
            let head = format!(
                "DELETE /session/{} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n",
                self.session
            );
            stream.write_all(head.as_bytes())?;
            stream.read_to_string(&mut String::new()).map(drop)
        };
        close().ok();
        self.driver.start_kill().ok();
    }
}
