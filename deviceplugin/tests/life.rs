//! The plugin over the lives of its kubelet.
#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod kubelet;

use std::path::Path;
use std::time::{Duration, Instant};

use kubelet::FakeKubelet;
use tempfile::TempDir;
use tideway_deviceplugin::{Device, PluginConfig, PluginEvent};
use tideway_proto::deviceplugin::ContainerAllocateResponse;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const RESOURCE: &str = "aliyun/eni";
/// The contract after a kubelet restart.
const LISTED_AGAIN: Duration = Duration::from_millis(200);

fn device(id: &str) -> Device {
    Device { id: id.to_owned(), healthy: true }
}

struct Owner {
    devices: watch::Sender<Vec<Device>>,
    allocated: mpsc::Receiver<Vec<String>>,
    events: mpsc::UnboundedReceiver<PluginEvent>,
    cancel: CancellationToken,
    task: JoinHandle<()>,
}

fn plugin(dir: &Path, socket: &str, devices: &[&str]) -> Owner {
    let config = PluginConfig {
        dir: dir.to_owned(),
        resource: RESOURCE.to_owned(),
        socket_name: socket.to_owned(),
    };
    let (devices, inventory) = watch::channel(devices.iter().map(|id| device(id)).collect());
    let (tell, allocated) = mpsc::channel(2);
    let (report, events) = mpsc::unbounded_channel();
    let cancel = CancellationToken::new();
    let run = tideway_deviceplugin::run(config, inventory, tell, report, cancel.clone());
    Owner { devices, allocated, events, cancel, task: tokio::spawn(run) }
}

impl Owner {
    async fn event(&mut self, what: &str) -> PluginEvent {
        let event = tokio::time::timeout(Duration::from_mins(1), self.events.recv()).await;
        event
            .unwrap_or_else(|_| panic!("within a minute no event: {what}"))
            .expect("the plugin ended")
    }

    async fn until(&mut self, wanted: PluginEvent) {
        while self.event(&format!("{wanted:?}")).await != wanted {}
    }

    async fn error(&mut self) -> String {
        loop {
            if let PluginEvent::Error(text) = self.event("error").await {
                return text;
            }
        }
    }

    async fn stop(self) {
        self.cancel.cancel();
        let ended = tokio::time::timeout(Duration::from_mins(1), self.task).await;
        ended.expect("the plugin did not end within a minute of the cancel").unwrap();
    }
}

fn directory() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// The clock stands still while anything can be done: what passes is what the plugin slept, however slow the machine.
#[tokio::test(start_paused = true)]
async fn devices_are_listed_again_within_200_ms_of_a_new_kubelet_socket() {
    let dir = directory();
    let mut kubelet = FakeKubelet::start(dir.path());
    let mut owner = plugin(dir.path(), "tideway-eni-1.sock", &["slot-0", "slot-1"]);
    kubelet.wait("first list", |b| b.list.is_some()).await;
    owner.until(PluginEvent::Registered).await;
    let mut slowest = Duration::ZERO;
    for _ in 0..10 {
        drop(kubelet);
        kubelet = FakeKubelet::start(dir.path());
        let books = kubelet.wait("list after the restart", |b| b.list.is_some()).await;
        assert_eq!(books.devices(), ["slot-0:Healthy", "slot-1:Healthy"]);
        let took = books.list.unwrap().1.duration_since(kubelet.born);
        assert!(took <= LISTED_AGAIN, "listed again only after {took:?}");
        slowest = slowest.max(took);
        owner.until(PluginEvent::KubeletRestarted).await;
        owner.until(PluginEvent::Registered).await;
    }
    eprintln!("slowest of 10 restarts: {slowest:?}");
    owner.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_new_kubelet_does_not_wait_for_a_backoff_that_grew_with_the_old_one() {
    let dir = directory();
    let kubelet = FakeKubelet::start(dir.path());
    kubelet.refuse(true);
    let mut owner = plugin(dir.path(), "tideway-eni-1.sock", &["slot-0"]);
    kubelet.wait("nine attempts, a second apart in the end", |b| b.asked >= 9).await;
    let refusal = owner.event("refusal").await;
    drop(kubelet); // Its socket stays behind and refuses.
    let dead = owner.event("another error: nobody listens").await;
    assert!(matches!(&dead, PluginEvent::Error(_)) && dead != refusal, "{dead:?}");
    // Lets the plugin fall asleep for its second, so that only the directory can wake it.
    tokio::time::sleep(Duration::from_millis(50)).await;
    let kubelet = FakeKubelet::start(dir.path());
    let books = kubelet.wait("list", |b| b.list.is_some()).await;
    let took = books.list.unwrap().1.duration_since(kubelet.born);
    assert!(took <= LISTED_AGAIN, "listed only after {took:?}");
    owner.stop().await;
}

#[tokio::test]
async fn a_dead_kubelet_is_reported_with_its_socket() {
    let dir = directory();
    let kubelet = FakeKubelet::start(dir.path());
    let mut owner = plugin(dir.path(), "tideway-eni-1.sock", &["slot-0"]);
    owner.until(PluginEvent::Registered).await;
    kubelet.wait("list", |b| b.list.is_some()).await;
    drop(kubelet);
    let text = owner.error().await;
    assert!(text.contains("kubelet.sock") && text.contains("is the kubelet running"), "{text}");
    owner.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_registration_without_a_list_is_not_taken_for_a_listing() {
    let dir = directory();
    let kubelet = FakeKubelet::start(dir.path());
    kubelet.ask(false);
    let mut owner = plugin(dir.path(), "tideway-eni-1.sock", &["slot-0"]);
    assert_eq!(owner.event("registration").await, PluginEvent::Registered);
    let PluginEvent::Error(text) = owner.event("nobody asked").await else { panic!("no error") };
    assert!(text.contains("did not ask for its devices"), "{text}");
    assert_eq!(kubelet.books().borrow().lists, 0);
    kubelet.ask(true);
    owner.until(PluginEvent::Listed).await;
    kubelet.wait("list", |b| b.list.is_some()).await;
    owner.stop().await;
}

#[tokio::test]
async fn a_kubelet_that_comes_after_the_plugin_is_waited_for() {
    let parent = directory();
    let dir = parent.path().join("device-plugins");
    let owner = plugin(&dir, "tideway-eni-1.sock", &["slot-0"]);
    tokio::task::yield_now().await;
    std::fs::create_dir(&dir).unwrap();
    let kubelet = FakeKubelet::start(&dir);
    let books = kubelet.wait("list", |b| b.list.is_some()).await;
    assert_eq!(books.devices(), ["slot-0:Healthy"]);
    owner.stop().await;
    assert!(!dir.join("tideway-eni-1.sock").exists(), "the socket was left behind");
}

#[tokio::test]
async fn nothing_is_registered_before_the_inventory_is_known() {
    let dir = directory();
    let kubelet = FakeKubelet::start(dir.path());
    let owner = plugin(dir.path(), "tideway-eni-1.sock", &[]);
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
    assert!(!dir.path().join("tideway-eni-1.sock").exists());
    assert_eq!(kubelet.books().borrow().asked, 0);
    owner.devices.send(Vec::new()).unwrap(); // A known inventory without devices.
    let books = kubelet.wait("empty list", |b| b.list.is_some()).await;
    assert!(books.devices().is_empty());
    owner.devices.send(vec![Device { id: "slot-0".into(), healthy: false }]).unwrap();
    kubelet.wait("changed list", |b| b.devices() == ["slot-0:Unhealthy"]).await;
    owner.stop().await;
}

#[tokio::test]
async fn an_equal_inventory_is_not_sent_again() {
    let dir = directory();
    let kubelet = FakeKubelet::start(dir.path());
    let owner = plugin(dir.path(), "tideway-eni-1.sock", &["slot-0"]);
    kubelet.wait("list", |b| b.list.is_some()).await;
    for _ in 0..3 {
        owner.devices.send(vec![device("slot-0")]).unwrap();
        tokio::task::yield_now().await;
    }
    owner.devices.send(vec![device("slot-0"), device("slot-1")]).unwrap();
    let books = kubelet.wait("changed list", |b| b.devices().len() == 2).await;
    assert_eq!(books.lists, 2);
    owner.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_newer_plugin_registers_again_when_the_older_one_takes_its_stream_along() {
    let dir = directory();
    let kubelet = FakeKubelet::start(dir.path());
    let old = plugin(dir.path(), "tideway-eni-1.sock", &["slot-0"]);
    kubelet.wait("list of the old plugin", |b| b.devices().len() == 1).await;
    let mut new = plugin(dir.path(), "tideway-eni-2.sock", &["slot-0", "slot-1"]);
    kubelet.wait("list of the new plugin", |b| b.devices().len() == 2).await;
    new.until(PluginEvent::Registered).await;
    old.stop().await;
    new.until(PluginEvent::Registered).await;
    let books = kubelet.wait("third registration", |b| b.registrations == 3 && b.list.is_some());
    assert_eq!(books.await.devices(), ["slot-0:Healthy", "slot-1:Healthy"]);
    kubelet.allocate(RESOURCE, &[&["slot-1"]]).await.unwrap();
    assert_eq!(new.allocated.recv().await.unwrap(), ["slot-1"]);
    new.stop().await;
}

#[tokio::test]
async fn a_socket_that_somebody_removed_is_made_again() {
    let dir = directory();
    let kubelet = FakeKubelet::start(dir.path());
    let owner = plugin(dir.path(), "tideway-eni-1.sock", &["slot-0"]);
    kubelet.wait("list", |b| b.list.is_some()).await;
    std::fs::remove_file(dir.path().join("tideway-eni-1.sock")).unwrap();
    kubelet.wait("second registration", |b| b.registrations >= 2 && b.list.is_some()).await;
    assert!(dir.path().join("tideway-eni-1.sock").exists());
    owner.stop().await;
}

#[tokio::test]
async fn the_socket_of_a_crashed_run_does_not_block_the_next() {
    let dir = directory();
    drop(std::os::unix::net::UnixListener::bind(dir.path().join("tideway-eni-1.sock")).unwrap());
    let owner = plugin(dir.path(), "tideway-eni-1.sock", &["slot-0"]);
    // The kubelet's start would wipe it, so its socket is made by hand here.
    let kept = dir.path().join("kept");
    std::fs::create_dir(&kept).unwrap();
    let kubelet = FakeKubelet::start(&kept);
    std::fs::rename(kept.join("kubelet.sock"), dir.path().join("kubelet.sock")).unwrap();
    kubelet.wait("registration", |b| b.asked > 0).await;
    owner.stop().await;
}

#[tokio::test]
async fn a_refusal_is_reported_once_and_tried_again() {
    let dir = directory();
    let kubelet = FakeKubelet::start(dir.path());
    kubelet.refuse(true);
    let mut owner = plugin(dir.path(), "tideway-eni-1.sock", &["slot-0"]);
    kubelet.wait("three attempts", |b| b.asked >= 3).await;
    let PluginEvent::Error(text) = owner.event("refusal").await else { panic!("no error") };
    assert!(text.contains(RESOURCE) && text.contains("not in the mood"), "{text}");
    kubelet.refuse(false);
    let next = owner.event("registration").await;
    assert!(matches!(next, PluginEvent::Registered | PluginEvent::Listed), "{next:?}");
    owner.stop().await;
}

#[tokio::test]
async fn each_container_gets_an_empty_answer_and_a_device_may_come_twice() {
    let dir = directory();
    let kubelet = FakeKubelet::start(dir.path());
    let mut owner = plugin(dir.path(), "tideway-eni-1.sock", &["slot-0", "slot-1"]);
    kubelet.wait("list", |b| b.list.is_some()).await;
    for _ in 0..2 {
        let answer = kubelet.allocate(RESOURCE, &[&["slot-0"], &[]]).await.unwrap();
        let empty = ContainerAllocateResponse::default();
        assert_eq!(answer.container_responses, [empty.clone(), empty]);
        assert_eq!(owner.allocated.recv().await.unwrap(), ["slot-0"]);
    }
    owner.stop().await;
}

#[tokio::test]
async fn an_unknown_device_is_refused_by_name_and_not_told_to_the_owner() {
    let dir = directory();
    let kubelet = FakeKubelet::start(dir.path());
    let mut owner = plugin(dir.path(), "tideway-eni-1.sock", &["slot-0"]);
    kubelet.wait("list", |b| b.list.is_some()).await;
    let refused = kubelet.allocate(RESOURCE, &[&["slot-7"]]).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::NotFound);
    assert!(refused.message().contains("slot-7") && refused.message().contains("slot-0"));
    assert_eq!(owner.allocated.try_recv(), Err(mpsc::error::TryRecvError::Empty));
    let mut client = kubelet.client(RESOURCE);
    let preferred = client.get_preferred_allocation(
        tideway_proto::deviceplugin::PreferredAllocationRequest::default(),
    );
    assert_eq!(preferred.await.unwrap_err().code(), tonic::Code::Unimplemented);
    owner.stop().await;
}

#[tokio::test]
async fn an_owner_that_is_slow_delays_no_allocation_and_loses_none() {
    let dir = directory();
    let kubelet = FakeKubelet::start(dir.path());
    let mut owner = plugin(dir.path(), "tideway-eni-1.sock", &["slot-0"]);
    kubelet.wait("list", |b| b.list.is_some()).await;
    let mut fastest = Duration::MAX;
    for _ in 0..20 {
        let began = Instant::now();
        let call = kubelet.allocate(RESOURCE, &[&["slot-0"]]);
        let answer = tokio::time::timeout(Duration::from_mins(1), call).await;
        answer.expect("allocation waited for its owner").unwrap();
        fastest = fastest.min(began.elapsed());
    }
    eprintln!("fastest Allocate with the round trip: {fastest:?}");
    for _ in 0..20 {
        let ids = tokio::time::timeout(Duration::from_mins(1), owner.allocated.recv()).await;
        assert_eq!(ids.expect("an allocation was lost").unwrap(), ["slot-0"]);
    }
    owner.stop().await;
}
