//! Tasks that end with their owner.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::task::JoinSet;

/// A set of tasks that any holder adds to. Clones are the same set.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tasks(Arc<Mutex<JoinSet<()>>>);

impl Tasks {
    /// Adds a task, and forgets those that have ended.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut set = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while set.try_join_next().is_some() {}
        set.spawn(task);
    }

    /// Ends all tasks.
    pub(crate) fn abort_all(&self) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .abort_all();
    }

    /// A guard that ends all tasks when its holder returns or is dropped: tasks hold what they work with, often this
    /// set among it, so they would keep each other alive otherwise.
    pub(crate) fn guard(&self) -> TasksGuard {
        TasksGuard(self.clone())
    }
}

/// See [`Tasks::guard`].
#[derive(Debug)]
pub(crate) struct TasksGuard(Tasks);

impl Drop for TasksGuard {
    fn drop(&mut self) {
        self.0.abort_all();
    }
}
