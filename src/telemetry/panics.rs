//! Panics, wherever they happen: each is counted and has one line in the log, with its place, its thread and the request
//! that it befell.
//!
//! What a panic says may hold what a caller sent: slicing a text at a wrong place quotes it. So only words that stand in
//! a program as they are, and the numbers of an index that is out of bounds, are told; whatever was put together is not.

use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::cell::RefCell;
use std::mem;
use std::panic::PanicHookInfo;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::thread;

use pin_project_lite::pin_project;

use super::subscriber;
use crate::ids::RequestId;

/// Of this process.
static COUNT: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// The request that this thread works for at this moment.
    static REQUEST: RefCell<Option<RequestId>> = const { RefCell::new(None) };
}

/// Longest text that is told, in bytes.
const LONGEST: usize = 200;

/// Messages of the standard library that consist of words and numbers only.
const NUMBERS: [&str; 4] =
    ["index out of bounds: ", "range end index ", "range start index ", "slice index starts at "];

/// Has every panic of this process counted and told in the log, instead of written to standard error with all that it
/// says.
pub fn report() {
    std::panic::set_hook(Box::new(tell));
}

/// How many there were since [`report`].
pub(super) fn count() -> u64 {
    COUNT.load(Ordering::Relaxed)
}

/// Counts one panic and writes its line, as [`report`] has it done with each. Its backtrace is there where
/// `RUST_BACKTRACE` asks for it: that has functions and places only.
pub fn tell(panic: &PanicHookInfo<'_>) {
    COUNT.fetch_add(1, Ordering::Relaxed);
    let place = panic.location().map(|place| format!("{}:{}", place.file(), place.line()));
    let request = current();
    let thread = thread::current();
    let backtrace = Backtrace::capture();
    let backtrace = matches!(backtrace.status(), BacktraceStatus::Captured).then(|| backtrace.to_string());
    tracing::error!(
        request_id = request.as_ref().map(RequestId::as_str),
        place,
        thread = thread.name(),
        said = words(panic.payload()),
        backtrace,
        "a panic: this is a fault of the gateway"
    );
    // The process may end now.
    subscriber::write_out();
}

/// What a panic says, as far as nobody but a programmer can have written it.
fn words(payload: &(dyn Any + Send)) -> Option<&str> {
    let told = match payload.downcast_ref::<&'static str>() {
        Some(words) => *words,
        None => payload.downcast_ref::<String>().filter(|text| NUMBERS.iter().any(|known| text.starts_with(known)))?,
    };
    Some(&told[..told.floor_char_boundary(LONGEST)])
}

fn current() -> Option<RequestId> {
    REQUEST.try_with(|request| request.try_borrow().ok()?.clone()).ok().flatten()
}

/// Work for one request: a panic in it is told with the request's id.
#[derive(Debug)]
pub struct Work(Option<RequestId>);

impl Work {
    /// For this request.
    pub fn of(request: RequestId) -> Self {
        Self(Some(request))
    }

    /// For the request that the thread works for already, if it does.
    pub fn of_current() -> Self {
        Self(current())
    }

    /// Does a piece of it.
    pub fn run<T>(&mut self, piece: impl FnOnce() -> T) -> T {
        let _within = Within::enter(&mut self.0);
        piece()
    }

    /// Does all of it, piece by piece.
    pub fn finish<F: Future>(self, future: F) -> impl Future<Output = F::Output> {
        Finish { future, work: self }
    }
}

pin_project! {
    struct Finish<F> {
        #[pin]
        future: F,
        work: Work,
    }
}

impl<F: Future> Future for Finish<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        this.work.run(|| this.future.poll(cx))
    }
}

/// While it lives, the thread works for the request; then for what it worked for before.
struct Within<'a>(&'a mut Option<RequestId>);

impl<'a> Within<'a> {
    fn enter(request: &'a mut Option<RequestId>) -> Self {
        swap(request);
        Self(request)
    }
}

impl Drop for Within<'_> {
    fn drop(&mut self) {
        swap(self.0);
    }
}

fn swap(request: &mut Option<RequestId>) {
    // A thread that ends works for nobody.
    REQUEST.try_with(|current| mem::swap(&mut *current.borrow_mut(), request)).ok();
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::{Arc, Mutex, Once};

    use serde_json::Value;

    use super::*;

    /// The other tests of this process keep the hook that tells what failed.
    fn report_beside() {
        static BEGUN: Once = Once::new();
        BEGUN.call_once(|| {
            let before = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                tell(panic);
                before(panic);
            }));
        });
    }

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// The line of the panic that `work` ends in.
    fn line(work: impl FnOnce()) -> Value {
        report_beside();
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt().json().flatten_event(true).with_writer(move || writer.clone());
        let before = count();
        tracing::subscriber::with_default(subscriber.finish(), || {
            catch_unwind(AssertUnwindSafe(work)).unwrap_err();
        });
        assert!(count() > before);
        let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        let [line] = text.lines().collect::<Vec<_>>()[..] else { panic!("{text}") };
        serde_json::from_str(line).unwrap()
    }

    #[test]
    fn a_panic_has_a_line_with_its_place_and_the_request_that_it_befell() {
        let line = line(|| Work::of("req_7".into()).run(|| panic!("a fixed text")));
        assert_eq!((&line["request_id"], &line["said"]), (&"req_7".into(), &"a fixed text".into()));
        assert_eq!(line["level"], "ERROR");
        let place = line["place"].as_str().unwrap();
        assert!(place.starts_with("src/telemetry/panics.rs:"), "{place}");
        assert_eq!(line["thread"], thread::current().name().unwrap());
    }

    #[test]
    fn outside_a_request_it_has_no_id() {
        let line = line(|| panic!("alone"));
        assert_eq!(line.get("request_id"), None);
        assert!(current().is_none(), "who works for a request stops when it is left, also by a panic");
    }

    #[test]
    fn what_was_put_together_is_not_told() {
        let prompt = String::from("ravens carry the wörds");
        let sliced = line(|| drop(prompt[..19].to_owned()));
        let formatted = line(|| panic!("cannot read {prompt}"));
        let refuse = |text: &str| -> Result<(), String> { Err(text.to_owned()) };
        let failed = line(|| refuse(&prompt).unwrap());
        for line in [sliced, formatted, failed] {
            assert!(line.get("said").is_none() && !line.to_string().contains("ravens"), "{line}");
        }
    }

    #[test]
    fn an_index_out_of_bounds_tells_its_numbers() {
        let list = [1, 2, 3].map(|number| number + 1).to_vec();
        let line = line(|| drop(list[list.len()].to_string()));
        assert_eq!(line["said"], "index out of bounds: the len is 3 but the index is 3");
    }

    #[tokio::test]
    async fn work_that_is_put_down_and_taken_up_again_belongs_to_its_request() {
        let seen = Work::of("req_8".into())
            .finish(async {
                let first = current();
                tokio::task::yield_now().await;
                let inner = Work::of("req_9".into()).finish(async { current() }).await;
                (first, inner, current())
            })
            .await;
        let id = |id: &str| Some(RequestId::from(id));
        assert_eq!(seen, (id("req_8"), id("req_9"), id("req_8")));
        assert_eq!(current(), None);
    }
}
