//! DEL: any number of times, in any state, and never lost.

use std::time::Duration;

use tideway_cni::Ticket;
use tideway_testkit::{Fault, Verb};

use crate::runtime::{CONTAINER, Runtime, invoke};

#[test]
fn del_succeeds_twice_unknown_and_without_namespace() {
    let Some(mut runtime) = Runtime::start("del_succeeds_twice_unknown_and_without_namespace")
    else {
        return;
    };
    let conf = runtime.conf("1.0.0");
    runtime.verb("DEL", &conf).success();
    runtime.verb("ADD", &conf).success();
    assert_eq!(runtime.node.attached().len(), 1);
    runtime.verb("DEL", &conf).success();
    assert!(runtime.node.attached().is_empty());
    runtime.netns.destroy();
    runtime.verb("DEL", &conf).success();
    let mut env = runtime.env("DEL");
    env.insert("CNI_NETNS".into(), String::new());
    env.remove("CNI_ARGS");
    invoke(&env, conf.to_string().as_bytes()).success();
    env.insert("CNI_NETNS".into(), "/proc/self/ns/net".into());
    invoke(&env, conf.to_string().as_bytes()).success();
    env.remove("CNI_NETNS");
    invoke(&env, conf.to_string().as_bytes()).success();
    assert!(runtime.ticket_files().is_empty());
}

#[test]
fn del_while_the_daemon_is_away_leaves_one_durable_ticket() {
    let Some(mut runtime) =
        Runtime::start("del_while_the_daemon_is_away_leaves_one_durable_ticket")
    else {
        return;
    };
    let conf = runtime.conf("1.0.0");
    runtime.verb("ADD", &conf).success();
    runtime.node.crash().unwrap();
    for _ in 0..2 {
        let answer = runtime.verb("DEL", &conf);
        assert!(answer.log.contains("the release waits in"), "{}", answer.log);
        answer.success();
    }
    let files = runtime.ticket_files();
    assert_eq!(files.len(), 1, "{files:?}");
    let ticket: Ticket = serde_json::from_slice(&std::fs::read(&files[0]).unwrap()).unwrap();
    assert_eq!((ticket.container_id.as_str(), ticket.ifname.as_str()), (CONTAINER, "eth0"));
    assert!(ticket.unix_millis.0 > 1_700_000_000_000, "{ticket:?}");
    assert_eq!(files[0].file_name().unwrap().to_string_lossy(), ticket.file_name());
}

#[test]
fn del_that_breaks_in_the_middle_leaves_a_ticket() {
    let Some(mut runtime) = Runtime::start("del_that_breaks_in_the_middle_leaves_a_ticket") else {
        return;
    };
    let conf = runtime.conf("1.0.0");
    runtime.node.delay(Verb::Delete, Duration::from_mins(1));
    let env = runtime.env("DEL");
    let stdin = conf.to_string();
    let running = std::thread::spawn(move || invoke(&env, stdin.as_bytes()));
    let deadline = std::time::Instant::now() + Duration::from_mins(1);
    while runtime.node.calls(Verb::Delete) == 0 {
        assert!(std::time::Instant::now() < deadline, "the DEL never reached the daemon");
        std::thread::yield_now();
    }
    runtime.node.crash().unwrap();
    running.join().unwrap().success();
    assert_eq!(runtime.ticket_files().len(), 1);
}

#[test]
fn del_while_the_daemon_starts_leaves_a_ticket() {
    let Some(runtime) = Runtime::start("del_while_the_daemon_starts_leaves_a_ticket") else {
        return;
    };
    let conf = runtime.conf("1.0.0");
    for fault in [
        Fault::Bare(tonic::Code::Unavailable),
        Fault::Cni {
            grpc: tonic::Code::Unavailable,
            code: 11,
            message: "tidewayd starts".into(),
            details: "wait".into(),
        },
    ] {
        runtime.node.fail(Verb::Delete, fault);
        runtime.verb("DEL", &conf).success();
        assert_eq!(runtime.ticket_files().len(), 1);
        std::fs::remove_dir_all(runtime.tickets()).unwrap();
    }
}

#[test]
fn del_that_the_daemon_refuses_is_an_error_and_no_ticket() {
    let Some(runtime) = Runtime::start("del_that_the_daemon_refuses_is_an_error_and_no_ticket")
    else {
        return;
    };
    runtime.node.fail(Verb::Delete, Fault::try_later("the ENI cannot be moved", "wait"));
    let text = runtime.verb("DEL", &runtime.conf("1.0.0")).failure(11);
    assert!(text.contains("the ENI cannot be moved"), "{text}");
    assert!(runtime.ticket_files().is_empty());
}

#[test]
fn a_release_that_cannot_be_noted_is_an_error_with_a_remedy() {
    let Some(mut runtime) =
        Runtime::start("a_release_that_cannot_be_noted_is_an_error_with_a_remedy")
    else {
        return;
    };
    runtime.node.crash().unwrap();
    // proc refuses new files as a read-only file system does, also to root.
    for tickets in ["/proc/tideway-tickets", "/dev/null/tickets"] {
        let mut conf = runtime.conf("1.0.0");
        conf["tickets"] = tickets.into();
        let text = runtime.verb("DEL", &conf).failure(5);
        assert!(text.contains(tickets) && text.contains("start tidewayd"), "{text}");
    }
}

#[test]
fn a_full_disk_leaves_no_half_ticket() {
    let Some(mut runtime) = Runtime::start("a_full_disk_leaves_no_half_ticket") else { return };
    runtime.node.crash().unwrap();
    // On a disk of one page the directory and an empty file fit, the content does not.
    let disk = tideway_testkit::TinyDisk::mount(1).unwrap();
    let filler = disk.path().join("filler");
    std::fs::write(&filler, [0u8; 4096]).unwrap();
    let mut conf = runtime.conf("1.0.0");
    conf["tickets"] = disk.path().display().to_string().into();
    let text = runtime.verb("DEL", &conf).failure(5);
    assert!(text.contains("No space left"), "{text}");
    let left: Vec<_> =
        std::fs::read_dir(disk.path()).unwrap().map(|it| it.unwrap().path()).collect();
    assert_eq!(left, std::slice::from_ref(&filler));
    std::fs::remove_file(&filler).unwrap();
    runtime.verb("DEL", &conf).success();
}

#[test]
fn long_ids_give_different_names_that_the_file_system_takes() {
    let name = |last: char| {
        let ticket = Ticket {
            container_id: format!("{}{last}", "x".repeat(252)).try_into().unwrap(),
            ifname: "fifteen-letters".try_into().unwrap(),
            unix_millis: tideway_model::UnixMillis(0),
        };
        ticket.file_name()
    };
    assert_ne!(name('a'), name('b'));
    assert!(name('a').len() < 230, "{}", name('a'));
}
