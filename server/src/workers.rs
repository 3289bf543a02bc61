//! Threads for work that must not stand in the way of short questions: they yield to everything else of the process.
//!
//! The system gives a thread that has waited the processor at once only if who runs counts for less; otherwise a short
//! question waits until a long one's turn is over, which is milliseconds.

use erstwhile_engine::options::yield_to_others;
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::sync::Arc;

type Work = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    turn: Condvar,
}

#[derive(Default)]
struct State {
    works: VecDeque<Work>,
    is_over: bool,
}

/// Threads that work in the order in which work is given to them.
pub struct Workers {
    queue: Arc<Queue>,
}

impl Workers {
    /// So many threads, which yield so much.
    pub fn new(threads: usize, nice: u8) -> Workers {
        let queue = Arc::new(Queue::default());
        for _ in 0..threads {
            let queue = queue.clone();
            std::thread::spawn(move || {
                yield_to_others(nice);
                while let Some(work) = queue.next() {
                    // A work that panics has told so; others go on.
                    let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
                }
            });
        }
        Workers { queue }
    }

    /// Gives work to the first thread that is free.
    pub fn give(&self, work: impl FnOnce() + Send + 'static) {
        self.queue.state.lock().works.push_back(Box::new(work));
        self.queue.turn.notify_one();
    }
}

impl Queue {
    fn next(&self) -> Option<Work> {
        let mut state = self.state.lock();
        loop {
            match state.works.pop_front() {
                Some(work) => return Some(work),
                None if state.is_over => return None,
                None => self.turn.wait(&mut state),
            }
        }
    }
}

/// What was given is done; then the threads end.
impl Drop for Workers {
    fn drop(&mut self) {
        self.queue.state.lock().is_over = true;
        self.queue.turn.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn all_that_is_given_is_done_though_some_panics() {
        let (workers, (send, receive)) = (Workers::new(2, 5), channel());
        for at in 0..100 {
            let send = send.clone();
            workers.give(move || {
                assert!(at % 10 != 0, "this one fails");
                send.send(at).unwrap();
            });
        }
        drop((workers, send));
        let mut done: Vec<i32> = receive.iter().collect();
        done.sort_unstable();
        assert_eq!(done, (0..100).filter(|at| at % 10 != 0).collect::<Vec<i32>>());
    }
}
