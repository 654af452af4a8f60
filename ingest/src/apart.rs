//! Collectors that read files do so on a thread where waiting harms nobody.
//!
//! A file system may hang, as one over a network does. On the threads that serve requests this would stop
//! whatever else they do, and no time limit would pass; here the round is given up in time, and until the
//! file answers the next rounds say that it does not.

use std::sync::{Arc, Mutex, PoisonError, TryLockError};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use tokio::{runtime::Handle, task::spawn_blocking};

use crate::{collector::Collector, request::Request};

/// A collector whose rounds run apart.
#[derive(Debug)]
pub struct Apart<C> {
    name: String,
    collector: Arc<Mutex<C>>,
}

impl<C: Collector> Apart<C> {
    /// Takes the rounds of `collector` elsewhere.
    pub fn new(collector: C) -> Self {
        let name = collector.name().to_owned();
        Self { name, collector: Arc::new(Mutex::new(collector)) }
    }
}

#[async_trait]
impl<C: Collector + 'static> Collector for Apart<C> {
    fn name(&self) -> &str {
        &self.name
    }

    async fn collect(&mut self, now: DateTime<Utc>) -> Result<Request, String> {
        let collector = Arc::clone(&self.collector);
        let round = spawn_blocking(move || {
            let mut collector = match collector.try_lock() {
                Ok(collector) => collector,
                // A round that panicked leaves what a round that was given up may leave.
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => {
                    return Err("an earlier round still waits for a file".to_owned());
                }
            };
            Handle::current().block_on(collector.collect(now))
        });
        round.await.unwrap_or_else(|error| match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(error) => Err(error.to_string()),
        })
    }

    async fn acknowledge(&mut self) {
        let collector = Arc::clone(&self.collector);
        let done = spawn_blocking(move || {
            let mut collector = collector.lock().unwrap_or_else(PoisonError::into_inner);
            Handle::current().block_on(collector.acknowledge());
        });
        if let Err(error) = done.await {
            tracing::error!(collector.name = self.name, "what was read is not remembered: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::mpsc::{Receiver, Sender, channel},
        time::Duration,
    };

    use super::*;

    /// Its rounds last until they are allowed to end.
    #[derive(Debug)]
    struct Hanging(Receiver<()>, Sender<&'static str>);

    #[async_trait]
    impl Collector for Hanging {
        fn name(&self) -> &'static str {
            "hanging"
        }

        async fn collect(&mut self, _: DateTime<Utc>) -> Result<Request, String> {
            match self.0.recv() {
                Ok(()) => Ok(Request::default()),
                Err(_) => panic!("on purpose"),
            }
        }

        async fn acknowledge(&mut self) {
            self.1.send("acknowledged").unwrap();
        }
    }

    // One thread: a round that held it would hold the test, too.
    #[tokio::test]
    async fn a_file_that_hangs_stops_nobody_and_the_collector_works_again_afterwards() {
        let ((allow, allowed), (say, said)) = (channel(), channel());
        let mut apart = Apart::new(Hanging(allowed, say));
        let short = Duration::from_millis(20);
        tokio::time::timeout(short, apart.collect(Utc::now())).await.unwrap_err();
        let refused = apart.collect(Utc::now()).await.unwrap_err();
        assert_eq!(refused, "an earlier round still waits for a file");
        allow.send(()).unwrap();
        allow.send(()).unwrap();
        while apart.collect(Utc::now()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        apart.acknowledge().await;
        assert_eq!(said.try_recv(), Ok("acknowledged"));
        drop(allow);
        let panicked = tokio::spawn(async move { apart.collect(Utc::now()).await }).await;
        assert!(panicked.unwrap_err().is_panic());
    }
}
