//! `postrider plugin check|test|bench|conform`, by the daemon's binary and real guests, without a network.

use std::path::{Path, PathBuf};

use postrider_tests::daemon::House;
use postrider_tests::modules::module;
use serde_json::{Value, json};

/// A destination for the fixtures, granted one origin that nobody has.
const POSTS: &str = "allow = [\"https://x.example\"]\nconfig.do = \"post\"\nconfig.url = \"https://x.example/hook\"\n";

/// A house with a project in its directory `project`: the module, its destination and a notification.
fn project(guest: &str, destination: &str) -> House {
    let house = House::new();
    let project = house.path().join("project");
    std::fs::create_dir(&project).unwrap();
    std::fs::copy(module(guest), project.join("chat.wasm")).unwrap();
    std::fs::write(project.join("chat.toml.example"), destination).unwrap();
    let payload =
        json!({"type": "alert.firing", "labels": {"team": "ops"}, "content": "disk is full"});
    std::fs::write(project.join("payload.json"), payload.to_string()).unwrap();
    house
}

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// Runs a command with a cache of its own and gives its exit code and what it says.
async fn run(house: &House, arguments: &[&str]) -> (i32, String) {
    let mut command = house.command();
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("command-line");
    command.env("XDG_CACHE_HOME", cache).arg("plugin").args(arguments);
    let output = command.output().await.unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(text).unwrap())
}

async fn run_json(house: &House, arguments: &[&str]) -> (i32, Value) {
    let (code, text) = run(house, &[arguments, &["--json"]].concat()).await;
    (code, serde_json::from_str(&text).map_err(|e| format!("{e}: {text}")).unwrap())
}

#[tokio::test]
async fn a_test_shows_the_request_that_would_leave_and_the_outcome() {
    let destination = format!("{POSTS}[secrets]\ntoken = {{ file = \"/none\" }}\n")
        .replace("/hook", "/{{secret:token}}");
    let house = project("fixture", &destination);
    let (code, came) = run_json(&house, &["test", "project"]).await;
    assert_eq!(
        (code, &came["outcome"], &came["reason"]),
        (0, &json!("delivered"), &json!("200 OK"))
    );
    let request = &came["requests"][0];
    assert_eq!(request["url"], "https://x.example/{{secret:token}}");
    assert_eq!(
        (&request["method"], &request["body"]),
        (&json!("POST"), &json!("\"disk is full\""))
    );
    assert!(came["memory"].as_u64().unwrap() > 0, "{came:#}");

    let answers = ["--answer", "429 retry-after=30"];
    let (code, text) = run(&house, &[["test", "project"].as_slice(), &answers].concat()).await;
    assert_eq!(code, 0, "{text}");
    let outcome = "outcome   retry: 429 Too Many Requests, no sooner than in 30s, holds the whole destination";
    assert!(text.contains(outcome), "{text}");
}

#[tokio::test]
async fn a_guest_of_wasi_http_meets_the_same_receiver() {
    let house = project("fixture_wasi", POSTS);
    for (answer, expected) in [
        ("202", "202"),
        ("refuse", "ConnectionRefused"),
        ("hang", "ConnectionReadTimeout"),
        ("close", "InternalError"),
    ] {
        let (code, came) = run_json(&house, &["test", "project", "--answer", answer]).await;
        let note = came["reason"].as_str().unwrap();
        assert!(code == 0 && note.contains(expected), "{answer}: {came:#}");
        assert_eq!(came["requests"].as_array().unwrap().len(), 1, "{answer}: {came:#}");
    }
}

#[tokio::test]
async fn a_module_without_an_answer_fails_the_test() {
    for (doing, expected) in
        [("do = \"trap\"", "outcome   trap"), ("configure = \"error\"", "configure refused: ")]
    {
        let house = project("fixture", &format!("config.{doing}"));
        let (code, text) = run(&house, &["test", "project"]).await;
        assert!(code == 1 && text.contains(expected), "{doing}: {text}");
    }
}

#[tokio::test]
async fn the_suites_of_our_modules_pass_and_a_wrong_case_fails() {
    let house = House::new();
    for name in ["webhook", "console"] {
        let module = module(name);
        let config = repository(&format!("plugins/{name}/{name}.toml.example"));
        let cases = repository(&format!("plugins/{name}/cases"));
        let given = [&module, &cases, &config].map(|path| path.to_str().unwrap());
        let (code, text) = run(&house, &["test", given[0], given[1], "--config", given[2]]).await;
        assert_eq!(code, 0, "{text}");
    }
    let house = project("fixture", POSTS);
    let case = house.path().join("late.case.toml");
    std::fs::write(&case, "answer = [{ status = 503 }]\nexpect = { outcome = \"delivered\" }")
        .unwrap();
    let (code, text) = run(&house, &["test", "project", "late.case.toml"]).await;
    assert!(
        code == 1 && text.starts_with("FAIL  late\n      outcome: expected delivered"),
        "{text}"
    );
    assert!(text.contains("came retry: 503 Service Unavailable"), "{text}");
}

#[tokio::test]
async fn bad_input_is_named_with_its_place() {
    let house = project("fixture", "config.do = \"ok\"");
    let put = |file: &str, text: &str| std::fs::write(house.path().join(file), text).unwrap();
    put("a.case.toml", "[expect]\noutcome = \"gon\"");
    put("bad.toml", "\nmacth = 1");
    put("bad.json", "{\"typ\": 1}");
    put("answers.toml", "[[answer]]\nstatus = 20");
    for (arguments, problem) in [
        (["test", "none.wasm", ""], "cannot read none.wasm: there is none"),
        (["conform", "data", ""], "data is no project of a module"),
        (
            ["test", "project", "a.case.toml"],
            "a.case.toml: line 2: unknown value \"gon\"; did you mean \"gone\"?",
        ),
        (
            ["bench", "project", "--config=bad.toml"],
            "bad.toml: line 2: unknown key \"macth\"; did you mean \"match\"?",
        ),
        (["conform", "project", "--payload=bad.json"], "bad.json: typ: unknown key \"typ\""),
        (["test", "project", "--answer=maybe"], "\"maybe\" is no status; say such as 200"),
        (
            ["test", "project", "--answer=answers.toml"],
            "answers.toml: line 1: status 20 is not one of",
        ),
    ] {
        let arguments: Vec<&str> = arguments.into_iter().filter(|a| !a.is_empty()).collect();
        let (code, text) = run(&house, &arguments).await;
        assert!(code == 1 && text.contains(problem), "{arguments:?}: {text}");
    }
}

#[tokio::test]
async fn our_modules_conform() {
    for name in ["webhook", "console"] {
        let (module, config) =
            (module(name), repository(&format!("plugins/{name}/{name}.toml.example")));
        let house = House::new();
        let given = [&module, &config].map(|path| path.to_str().unwrap());
        let (code, text) = run(&house, &["conform", given[0], "--config", given[1]]).await;
        assert!(code == 0 && text.contains(" 0 failed"), "{text}");
    }
}

/// The names of the checks that fail.
async fn failing(guest: &str, destination: &str) -> Vec<String> {
    let house = project(guest, destination);
    let (code, found) = run_json(&house, &["conform", "project"]).await;
    let checks = found["checks"].as_array().unwrap();
    let failed = checks.iter().filter(|check| check["result"] == "fail");
    let failed: Vec<String> =
        failed.map(|check| check["check"].as_str().unwrap().to_owned()).collect();
    assert_eq!(code == 0, failed.is_empty(), "{found:#}");
    failed
}

#[tokio::test]
async fn a_module_with_bad_manners_does_not_conform() {
    // It conforms where it posts with the id and answers the SDK's verdict.
    assert!(failing("fixture", POSTS).await.is_empty());
    // This one posts too, and calls whatever comes delivered.
    let careless = failing("fixture_wasi", POSTS).await;
    for check in ["outage", "later", "refused", "gone", "redirect", "retry-after", "no-answer"] {
        assert!(careless.contains(&check.to_owned()), "{check}: {careless:?}");
    }
    let talks = "config.do = \"echo-secret\"\nsecrets.token = { file = \"/none\" }";
    assert_eq!(failing("fixture", talks).await, ["secrets"]);
    assert_eq!(failing("fixture", "config.do = \"trap\"").await, ["delivers"]);
    let parts = POSTS.replace("config.do = \"post\"\n", "");
    assert!(failing("parts", &parts).await.is_empty());
}

#[tokio::test]
async fn a_bench_counts_both_ways() {
    let house = project("fixture", "config.do = \"ok\"");
    let (code, found) = run_json(&house, &["bench", "project", "--time", "100ms"]).await;
    assert_eq!(code, 0);
    for way in ["fresh", "reused"] {
        let cost = &found[way];
        assert!(cost["deliveries"].as_u64().unwrap() > 16, "{found:#}");
        assert!(cost["cpu_us"].as_f64().unwrap() > 0.0, "{found:#}");
        assert!(cost["p50_us"].as_f64() <= cost["p99_us"].as_f64(), "{found:#}");
    }
    assert!(found["compile_ms"].as_f64() > found["cached_load_ms"].as_f64(), "{found:#}");
}
