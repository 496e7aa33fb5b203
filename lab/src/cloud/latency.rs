//! How long things take. `real` follows what users of the clouds see: create and assign about a second, attach and
//! detach seconds and asynchronous.

use serde::{Deserialize, Serialize};

use super::clock::Millis;
use super::dice::Dice;

/// How slow the cloud is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum LatencyMode {
    /// Everything at once; for tests of logic.
    None,
    /// As in the real cloud.
    #[default]
    Real,
    /// Four times as slow.
    Slow,
}

/// What takes time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// A Describe call.
    Read,
    /// Creation of an ENI.
    Create,
    /// From Attaching to `InUse`.
    Attach,
    /// From Detaching to Available.
    Detach,
    /// From Deleting to gone.
    Delete,
    /// Assign and Unassign.
    Assign,
    /// Any other change.
    Change,
    /// How far the metadata service trails the APIs.
    Metadata,
}

impl LatencyMode {
    /// Draws a duration between two, both in milliseconds and as they are in the real cloud.
    pub fn draw(self, (low, high): (Millis, Millis), dice: &mut Dice) -> Millis {
        match self {
            Self::None => 0,
            Self::Real => dice.between(low, high),
            Self::Slow => dice.between(low, high).saturating_mul(4),
        }
    }
}

/// Alibaba Cloud.
pub fn aliyun(work: Work) -> (Millis, Millis) {
    match work {
        Work::Read => (20, 60),
        Work::Create | Work::Assign => (500, 1000),
        Work::Attach | Work::Detach => (2000, 4000),
        Work::Delete => (200, 400),
        Work::Change => (100, 200),
        Work::Metadata => (1500, 1500),
    }
}

/// AWS. An ENI is gone when Delete answers; the metadata service trails by seconds.
pub fn aws(work: Work) -> (Millis, Millis) {
    match work {
        Work::Read => (80, 200),
        Work::Create => (400, 900),
        Work::Assign => (300, 700),
        Work::Attach => (1000, 3000),
        Work::Detach => (2000, 5000),
        Work::Delete => (0, 0),
        Work::Change => (200, 500),
        Work::Metadata => (3000, 3000),
    }
}
