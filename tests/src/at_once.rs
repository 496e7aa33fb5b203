//! Several blocking tasks side by side, all of them waited for.

use anyhow::{Result, anyhow};

/// A task.
pub type Task<'a, T> = Box<dyn FnOnce() -> Result<T> + Send + 'a>;

/// A task of [`at_once`].
pub fn task<'a, T>(work: impl FnOnce() -> Result<T> + Send + 'a) -> Task<'a, T> {
    Box::new(work)
}

/// Runs all tasks, each in its thread. Results in the order of the tasks; when tasks fail, the first error of that order,
/// after all have ended.
pub fn at_once<T: Send>(tasks: Vec<Task<'_, T>>) -> Result<Vec<T>> {
    let outcomes: Vec<Result<T>> = std::thread::scope(|scope| {
        let running: Vec<_> = tasks.into_iter().map(|task| scope.spawn(task)).collect();
        running
            .into_iter()
            .map(|task| task.join().unwrap_or_else(|_| Err(anyhow!("a task panicked"))))
            .collect()
    });
    outcomes.into_iter().collect()
}
