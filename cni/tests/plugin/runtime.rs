//! The runtime's side of a test: a socket directory, a fake daemon, a pod's namespace, and the variables of a call.

use std::{collections::BTreeMap, io, path::PathBuf};

use serde_json::{Value, json};
use tideway_testkit::{FakeNode, Netns};

pub(crate) const CONTAINER: &str =
    "a86f71eaab8359f8b1d4f650c250eda5324604fe9c40207b74423c5e9748e856";

pub(crate) struct Runtime {
    pub(crate) node: FakeNode,
    pub(crate) netns: Netns,
    pub(crate) dir: tempfile::TempDir,
}

pub(crate) struct Answer {
    pub(crate) fine: bool,
    pub(crate) stdout: String,
    pub(crate) log: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| {
            panic!("stdout is no JSON ({error}): {:?}", self.stdout);
        })
    }

    #[track_caller]
    pub(crate) fn success(self) -> Value {
        assert!(self.fine, "failed: {} {}", self.stdout, self.log);
        if self.stdout.is_empty() { Value::Null } else { self.json() }
    }

    /// Checks code and shape of the error object and returns its text.
    #[track_caller]
    pub(crate) fn failure(self, code: u32) -> String {
        assert!(!self.fine, "succeeded: {}", self.stdout);
        let object = self.json();
        assert_eq!(object["code"], code, "{object}");
        for key in ["cniVersion", "msg", "details"] {
            let text = object[key].as_str().unwrap_or_default();
            assert!(!text.is_empty(), "{key} is missing: {object}");
        }
        format!("{} {}", object["msg"], object["details"])
    }
}

impl Runtime {
    /// `None` when the test cannot run here; it is counted then.
    pub(crate) fn start(test: &str) -> Option<Self> {
        if !tideway_testkit::requires_root(test) {
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let node = FakeNode::start(&dir.path().join("node.sock")).unwrap();
        Some(Self { node, netns: Netns::anonymous().unwrap(), dir })
    }

    pub(crate) fn tickets(&self) -> PathBuf {
        self.dir.path().join("tickets")
    }

    /// Files in the ticket directory.
    pub(crate) fn ticket_files(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.tickets()).into_iter().flatten();
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    pub(crate) fn conf(&self, version: &str) -> Value {
        json!({
            "cniVersion": version,
            "name": "tideway",
            "type": "tideway-cni",
            "socket": self.dir.path().join("node.sock"),
            "tickets": self.tickets(),
        })
    }

    pub(crate) fn env(&self, command: &str) -> BTreeMap<String, String> {
        [
            ("CNI_COMMAND", command),
            ("CNI_CONTAINERID", CONTAINER),
            ("CNI_IFNAME", "eth0"),
            ("CNI_NETNS", &self.netns.path_text()),
            ("CNI_PATH", "/nowhere"),
            (
                "CNI_ARGS",
                "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=p1;K8S_POD_UID=u1",
            ),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
    }

    /// A verb with the usual variables.
    pub(crate) fn verb(&self, command: &str, conf: &Value) -> Answer {
        invoke(&self.env(command), conf.to_string().as_bytes())
    }
}

pub(crate) fn invoke(env: &BTreeMap<String, String>, stdin: &[u8]) -> Answer {
    invoke_from(env, &mut &*stdin)
}

pub(crate) fn invoke_from(env: &BTreeMap<String, String>, stdin: &mut dyn io::Read) -> Answer {
    let (mut stdout, mut log) = (Vec::new(), Vec::new());
    let fine = tideway_cni::run(env, stdin, &mut stdout, &mut log);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Answer { fine, stdout: text(stdout), log: text(log) }
}
