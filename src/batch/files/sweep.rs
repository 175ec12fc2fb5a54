//! What takes away files whose time is over, uploads that nobody goes on with, and objects that could not be deleted when
//! their file was. Every replica sweeps; what two do at once does no harm.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::queries::{self, Remains, State};
use super::{Files, told};
use crate::clock::Timestamp;
use crate::error::Result;

const INTERVAL: Duration = Duration::from_mins(5);
/// Rows that are read at a time.
const PAGE: u32 = 100;
/// Every time there is.
const ALWAYS: Timestamp = Timestamp::from_millis(i64::MAX);

impl Files {
    /// Spawns the task that sweeps. It ends with `stop`.
    pub fn sweep_in_background(&self, stop: CancellationToken) {
        let files = self.clone();
        let sweeping = async move {
            let mut tick = tokio::time::interval(INTERVAL);
            tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tick.tick().await;
                if let Err(error) = files.sweep().await {
                    tracing::warn!(%error, causes = error.causes(), "files could not be swept");
                }
            }
        };
        self.0.tracker.spawn(stop.run_until_cancelled_owned(sweeping));
    }

    /// Takes away what is due, and says how many files went. What S3 does not let go of now stays for the next time.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn sweep(&self) -> Result<u64> {
        let now = self.0.clock.now();
        for state in [State::Uploading, State::Ready] {
            let mut after = String::new();
            loop {
                let due = queries::due(&self.0.store, state, now, &after, PAGE).await?;
                let Some(last) = due.last() else { break };
                after.clone_from(&last.id);
                for file in &due {
                    let mut transaction = self.0.store.begin().await?;
                    // A batch may have begun over it since.
                    if queries::reader(&mut transaction, &file.id).await?.is_none() {
                        queries::mark(&mut transaction, &file.id, state, now).await?;
                    }
                    transaction.commit().await?;
                }
            }
        }
        let mut swept = 0;
        let mut after = String::new();
        loop {
            let due = queries::due(&self.0.store, State::Deleted, ALWAYS, &after, PAGE).await?;
            let Some(last) = due.last() else { return Ok(swept) };
            after.clone_from(&last.id);
            for file in &due {
                swept += u64::from(self.try_erase(file).await);
            }
        }
    }

    /// Takes an upload away that was not finished.
    pub(super) async fn abandon(&self, id: &str) {
        let marked = async {
            let mut transaction = self.0.store.begin().await?;
            let marked = queries::mark(&mut transaction, id, State::Uploading, self.0.clock.now()).await?;
            transaction.commit().await?;
            Ok::<_, crate::error::Error>(marked)
        };
        match marked.await {
            Ok(true) => self.erase_now(id).await,
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(%error, causes = error.causes(), file = id, "an upload could not be discarded");
            }
        }
    }

    /// Deletes the objects of a file that is marked as deleted, and forgets it.
    pub(super) async fn erase_now(&self, id: &str) {
        match queries::remains_of(&self.0.store, id).await {
            Ok(Some(remains)) => {
                self.try_erase(&remains).await;
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, causes = error.causes(), file = id, "a file could not be deleted"),
        }
    }

    async fn try_erase(&self, remains: &Remains) -> bool {
        let erased = self.erase(remains).await;
        if let Err(error) = &erased {
            tracing::warn!(
                %error,
                causes = error.causes(),
                file = remains.id,
                "the objects of a deleted file are still there; they are tried again"
            );
        }
        erased.is_ok()
    }

    async fn erase(&self, remains: &Remains) -> Result<()> {
        let mut keys: BTreeMap<(&str, &str), Vec<String>> = BTreeMap::new();
        for segment in &remains.segments {
            keys.entry((&segment.region, &segment.bucket)).or_default().push(segment.key.clone());
            if let Some(upload) = &remains.upload {
                let objects = self.objects(&segment.region)?;
                objects.abort(&segment.bucket, &segment.key, upload).await.map_err(told)?;
            }
        }
        for ((region, bucket), keys) in keys {
            self.objects(region)?.delete(bucket, &keys).await.map_err(told)?;
        }
        queries::remove(&self.0.store, &remains.id).await
    }
}
