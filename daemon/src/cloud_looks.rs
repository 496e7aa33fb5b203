//! Looks at the cloud that somebody asked for: one at a time, each repeated until the cloud answers.
//!
//! While no answer comes the allocator asks again every minute. Were each question a loop of its own, an outage would pile
//! them up, and all of them would fall on the cloud when it comes back. Here whatever is asked during a look is one more look
//! after it: each question is followed by a look that began later.

use std::sync::Arc;

use tideway_cloud::{Cloud, CloudError};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::{clock, cloud_log::CloudLog, hands::Tools, pauses::Pauses};

/// Works until cancelled.
pub async fn work<C: Cloud>(tools: Arc<Tools<C>>, cancel: CancellationToken) {
    answer(&tools.cloud_asked, &cancel, || tools.look_at_cloud()).await;
}

async fn answer<F: Future<Output = Result<(), CloudError>>>(
    asked: &Notify,
    cancel: &CancellationToken,
    look: impl Fn() -> F,
) {
    while cancel.run_until_cancelled(asked.notified()).await.is_some() {
        let answered = async {
            let mut pauses = Pauses::default();
            while let Err(e) = look().await {
                CloudLog::warn(&e, "the cloud could not be read");
                tokio::time::sleep(pauses.next(clock::jitter())).await;
            }
        };
        cancel.run_until_cancelled(answered).await;
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, time::Duration};

    use tideway_cloud::{CloudOp, ErrorKind};

    use super::*;

    fn unavailable() -> CloudError {
        CloudError {
            action: CloudOp::DESCRIBE.to_owned(),
            kind: ErrorKind::Unavailable,
            code: "ServiceUnavailable".to_owned(),
            message: "down".to_owned(),
            request_id: None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn questions_of_a_long_outage_are_answered_by_one_look_at_a_time() {
        let (asked, down) = (Notify::new(), Cell::new(true));
        let cancel = CancellationToken::new();
        let (open, most, looks) = (Cell::new(0), Cell::new(0), Cell::new(0));
        let look = || async {
            looks.set(looks.get() + 1);
            open.set(open.get() + 1);
            most.set(most.get().max(open.get()));
            tokio::time::sleep(Duration::from_secs(15)).await;
            open.set(open.get() - 1);
            if down.get() { Err(unavailable()) } else { Ok(()) }
        };
        let outage = async {
            for _minute in 0..60 {
                asked.notify_one();
                tokio::time::sleep(Duration::from_mins(1)).await;
            }
            let during = looks.replace(0);
            down.set(false);
            tokio::time::sleep(Duration::from_mins(10)).await;
            during
        };
        let during = tokio::select! {
            during = outage => during,
            () = answer(&asked, &cancel, look) => 0,
        };
        assert_eq!(most.get(), 1, "looks at one time");
        // Each takes 15 s and pauses half a minute to a minute.
        assert!((45..=90).contains(&during), "{during} looks in an hour");
        assert!((1..=3).contains(&looks.get()), "{} looks after it", looks.get());
    }
}
