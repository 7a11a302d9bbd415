//! Every behaviour of the fixture guests and the test that has it. One without a test does not compile.

use crate::{given, limits, misbehaviour, network, reuse, secrets, state};

#[expect(dead_code, reason = "only the behaviours count here")]
#[path = "../../guests/fixture/src/config.rs"]
mod fixture;
#[path = "../../guests/fixture-wasi/src/behaviour.rs"]
mod fixture_wasi;

use fixture::{Behaviour, OnConfigure};
use fixture_wasi::Behaviour as WasiBehaviour;

type Test = fn();

#[expect(dead_code, reason = "it is the compiler that asks")]
const fn test_of(behaviour: Behaviour) -> Test {
    match behaviour {
        Behaviour::Ok
        | Behaviour::Retry
        | Behaviour::RetryDestination
        | Behaviour::Rejected
        | Behaviour::Gone => misbehaviour::verdicts_come_through,
        Behaviour::Trap
        | Behaviour::Panic
        | Behaviour::Exit
        | Behaviour::Loop
        | Behaviour::MemoryBomb
        | Behaviour::NativeRecursion
        | Behaviour::ShadowRecursion
        | Behaviour::HostCallLoop
        | Behaviour::LongLogLine
        | Behaviour::BigAnswer
        | Behaviour::Sleep => {
            misbehaviour::every_misbehaviour_is_one_fault_and_the_next_delivery_works
        }
        Behaviour::LogFlood => misbehaviour::a_log_flood_is_cut_at_its_limit,
        Behaviour::Print => misbehaviour::standard_streams_are_log_lines,
        Behaviour::Post => network::a_granted_receiver_gets_the_notification,
        Behaviour::Grind => network::what_computes_for_long_keeps_its_connections_and_its_time,
        Behaviour::Probe => network::receivers_that_break_the_protocol_are_told_apart,
        Behaviour::ManyRequests => network::requests_are_counted,
        Behaviour::EchoSecret => secrets::a_secret_is_revealed_only_where_the_destination_says_so,
        Behaviour::EchoConfig => secrets::the_guest_sees_a_token_that_is_new_each_time,
        Behaviour::Exfiltrate => {
            secrets::a_token_sent_to_an_ungranted_origin_is_denied_and_nothing_arrives
        }
        Behaviour::Counting => reuse::an_instance_serves_so_many_deliveries,
        Behaviour::Sign => secrets::every_key_of_a_rotated_secret_signs,
        Behaviour::State | Behaviour::StateCount | Behaviour::StateFlood => {
            state::notes_are_kept_between_deliveries_and_apart_between_destinations
        }
    }
}

#[expect(dead_code, reason = "it is the compiler that asks")]
const fn test_of_configure(behaviour: OnConfigure) -> Test {
    match behaviour {
        OnConfigure::Yes => misbehaviour::verdicts_come_through,
        OnConfigure::No | OnConfigure::Error | OnConfigure::Trap | OnConfigure::Loop => {
            misbehaviour::a_configure_that_says_no_or_fails_keeps_the_destination_out
        }
    }
}

#[expect(dead_code, reason = "it is the compiler that asks")]
const fn test_of_wasi(behaviour: WasiBehaviour) -> Test {
    match behaviour {
        WasiBehaviour::Post => network::wasi_http_goes_through_the_same_door,
        WasiBehaviour::Socket | WasiBehaviour::File | WasiBehaviour::Env => {
            network::wasi_grants_no_sockets_files_or_environment
        }
        WasiBehaviour::Leak => reuse::an_instance_that_keeps_too_many_resources_is_thrown_away,
        WasiBehaviour::Handles | WasiBehaviour::Header | WasiBehaviour::Stdout => {
            limits::floods_through_wasi_end_at_a_named_limit
        }
    }
}

#[tokio::test]
async fn an_unknown_behaviour_is_no_behaviour() {
    assert!(WasiBehaviour::of("dance").is_none());
    let toml = "[config]\ndo = \"dance\"";
    assert!(given::try_bind("fixture", "test", toml, None).await.is_err());
}
