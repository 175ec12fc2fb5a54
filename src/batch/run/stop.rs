//! The end of the worker: others take over at once what it had.

use crate::batch::batches::Batches;
use crate::batch::queries;

impl Batches {
    /// Begins nothing more, and hands all batches to whoever comes first. Records that run online are let end, since AWS
    /// would charge for them again elsewhere: returns when they have.
    pub async fn stop(&self) {
        let crew = self.crew();
        let Some(staff) = crew.staff.get() else { return };
        staff.stop.cancel();
        for desk in crew.desks() {
            desk.cut();
            desk.tell();
        }
        if let Err(error) = queries::release_quiet(self.store(), self.worker()).await {
            tracing::warn!(%error, "batches are not handed over; another replica takes them when the lease ends");
        }
        crew.look.notify_one();
        staff.tracker.close();
        staff.tracker.wait().await;
        if let Err(error) = queries::leave(self.store(), self.worker()).await {
            tracing::warn!(%error, "batches are not handed over; another replica takes them when the lease ends");
        }
    }
}
