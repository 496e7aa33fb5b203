//! The clients against servers that are slow, throttle, or send what nobody understands.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fake;

use std::path::Path;
use std::time::Duration;

use fake::{pod, serve};
use tideway_model::{PodKey, SlotId};
use tideway_nodeapi::{NodeApiError, PodResources, Runtime};
use tideway_proto::cri::{PodSandbox, PodSandboxMetadata};

const RESOURCE: &str = "aliyun/eni";

fn key(name: &str) -> PodKey {
    PodKey::new("default", name).unwrap()
}

#[tokio::test]
async fn a_device_of_two_containers_is_held_once_and_foreign_devices_are_no_slots() {
    let served = serve();
    *served.node.pods.lock().unwrap() = vec![
        pod("web", &[(RESOURCE, &["slot-1"]), (RESOURCE, &["slot-1"]), ("cpu/x", &["slot-7"])]),
        pod("plain", &[]),
        pod("odd", &[(RESOURCE, &["gpu-0"])]),
    ];
    let holdings = PodResources::new(&served.socket).list().await.unwrap();
    assert_eq!(holdings.slots(RESOURCE).into_iter().collect::<Vec<_>>(), [(SlotId(1), key("web"))]);
    let held = holdings.iter().find(|h| h.pod == key("web") && h.resource == RESOURCE).unwrap();
    assert_eq!(held.device_ids.len(), 1);
    assert!(holdings.iter().all(|h| h.pod != key("plain")));
}

#[tokio::test]
async fn an_asker_never_gets_an_answer_that_is_older_than_his_question() {
    let served = serve();
    served.node.gate.forget_permits(1000);
    let client = PodResources::new(&served.socket);
    let ask = || {
        tokio::spawn({
            let client = client.clone();
            async move { client.list().await }
        })
    };
    let mut lists = served.node.lists.subscribe();

    let first = ask();
    lists.wait_for(|n| *n == 1).await.unwrap();
    // The pod appears while the first List is under way; nine ask for it.
    *served.node.pods.lock().unwrap() = vec![pod("late", &[(RESOURCE, &["slot-0"])])];
    let late: Vec<_> = (0..9).map(|_| ask()).collect();
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    served.node.gate.add_permits(1000);
    assert!(first.await.unwrap().unwrap().slots(RESOURCE).is_empty());
    for asker in late {
        let slots = asker.await.unwrap().unwrap().slots(RESOURCE);
        assert_eq!(slots.get(&SlotId(0)), Some(&key("late")));
    }
    assert_eq!(*lists.borrow(), 2, "nine who ask at the same time share one List");
}

#[tokio::test]
async fn an_asker_who_gives_up_takes_nobody_else_along() {
    let served = serve();
    served.node.gate.forget_permits(1000);
    let client = PodResources::new(&served.socket);
    let ask = || {
        tokio::spawn({
            let client = client.clone();
            async move { client.list().await }
        })
    };
    let mut lists = served.node.lists.subscribe();
    let leader = ask();
    lists.wait_for(|n| *n == 1).await.unwrap();
    let follower = ask();
    leader.abort();
    served.node.gate.add_permits(1000);
    follower.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_kubelet_that_is_asked_too_often_is_asked_again_later() {
    let served = serve();
    *served.node.refusals.lock().unwrap() = 3;
    PodResources::new(&served.socket).list().await.unwrap();
    assert_eq!(*served.node.lists.borrow(), 4);

    *served.node.refusals.lock().unwrap() = usize::MAX;
    let client = PodResources::with_limit(&served.socket, Duration::from_secs(1));
    let error = client.list().await.unwrap_err();
    assert!(matches!(error, NodeApiError::Throttled { .. }), "{error}");
}

#[tokio::test]
async fn a_kubelet_that_hangs_is_not_waited_for_without_end() {
    let served = serve();
    served.node.gate.forget_permits(1000);
    let client = PodResources::with_limit(&served.socket, Duration::from_secs(1));
    let error = client.list().await.unwrap_err();
    assert!(matches!(error, NodeApiError::Deadline { .. }), "{error}");
    served.node.gate.add_permits(1000);
    client.list().await.unwrap();
}

#[tokio::test]
async fn a_socket_without_a_server_is_named_in_the_error() {
    let nowhere = Path::new("/nonexistent/kubelet.sock");
    for error in [
        PodResources::new(nowhere).list().await.unwrap_err(),
        Runtime::new(nowhere).sandboxes().await.unwrap_err(),
        Runtime::new(nowhere).version().await.unwrap_err(),
    ] {
        assert!(matches!(error, NodeApiError::Connect { .. }), "{error}");
        assert!(error.to_string().contains("/nonexistent/kubelet.sock"), "{error}");
    }
}

#[tokio::test]
async fn a_replaced_socket_is_found_by_the_next_question() {
    let (first, second) = (serve(), serve());
    let client = PodResources::new(&first.socket);
    client.list().await.unwrap();
    *second.node.pods.lock().unwrap() = vec![pod("new", &[(RESOURCE, &["slot-0"])])];
    std::fs::rename(&second.socket, &first.socket).unwrap();
    assert_eq!(client.list().await.unwrap().slots(RESOURCE).len(), 1);
}

#[tokio::test]
async fn one_entry_that_cannot_be_read_spoils_the_list_instead_of_vanishing() {
    let served = serve();
    let mut bad = pod("x", &[(RESOURCE, &["slot-0"])]);
    bad.namespace = "../etc".to_owned();
    *served.node.pods.lock().unwrap() = vec![pod("good", &[(RESOURCE, &["slot-1"])]), bad];
    let error = PodResources::new(&served.socket).list().await.unwrap_err();
    assert!(matches!(error, NodeApiError::Answer { .. }), "{error}");

    *served.node.sandboxes.lock().unwrap() = vec![sandbox("good", 0), PodSandbox::default()];
    let error = Runtime::new(&served.socket).sandboxes().await.unwrap_err();
    assert!(matches!(error, NodeApiError::Answer { .. }), "{error}");
}

fn sandbox(id: &str, state: i32) -> PodSandbox {
    let metadata = PodSandboxMetadata {
        name: "web-0".to_owned(),
        uid: "0e0c7a3e-uid".to_owned(),
        namespace: "default".to_owned(),
        attempt: 0,
    };
    PodSandbox { id: id.to_owned(), metadata: Some(metadata), state, created_at: 1 }
}

#[tokio::test]
async fn a_sandbox_that_stopped_is_listed_as_not_ready() {
    let served = serve();
    *served.node.sandboxes.lock().unwrap() = vec![sandbox("a1", 0), sandbox("b2", 1)];
    let runtime = Runtime::new(&served.socket);
    let found = runtime.sandboxes().await.unwrap();
    let seen: Vec<_> = found.iter().map(|s| (s.id.as_str(), s.ready)).collect();
    assert_eq!(seen, [("a1", true), ("b2", false)]);
    let pod = &found.first().expect("two were listed").pod;
    assert_eq!(
        (&pod.key, pod.uid.as_ref().map(tideway_model::PodUid::as_str)),
        (&key("web-0"), Some("0e0c7a3e-uid"))
    );
    assert_eq!(runtime.cni_version().await.unwrap(), "1.1.0");
    Runtime::new("/nonexistent/containerd.sock").cni_version().await.unwrap_err();
}
