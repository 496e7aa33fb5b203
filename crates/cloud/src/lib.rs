//! What Tideway asks of a cloud, as values: operations, answers, errors, and the rules of asking (limits, priorities).
//!
//! Pure: no IO, no clock. `cloud-aliyun` and `cloud-aws` turn an operation into requests; the allocator plans
//! operations; the daemon's shell executes them. Both clouds keep the same promises, so the allocator knows only this crate.

pub mod endpoint;
pub mod error;
pub mod key_file;
pub mod limiter;
pub mod limits;
pub mod op;
pub mod permission;
pub mod secret;
pub mod sweep;
pub mod view;

pub use endpoint::{Endpoint, InvalidEndpoint};
pub use error::{CloudError, ErrorKind};
pub use key_file::{WrittenKey, written_key};
pub use limiter::{ActionPace, CallId, Limiter, Outcome, Pace, Priority, Turn};
pub use limits::{known_limits, known_types};
pub use op::{Cloud, CloudOp, CreateEni, OpAnswer};
pub use permission::{Ask, actions};
pub use secret::{AccessKey, Secret};
pub use view::{EniFilter, EniStatus, EniView, InstanceView, SubnetView};
