//! The last words of a run, without those of its hooks: a dead man's switch that is told of a failure shows them to whoever comes to look.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::App;
use crate::domain::event::{Event, Observer};

/// So many lines.
const LINES: usize = 20;

/// Hears what a run says, passes it on, and remembers the end of it.
pub(super) struct Tail {
    on: Arc<dyn Observer>,
    lines: Mutex<VecDeque<String>>,
}

impl Tail {
    /// `app` for one run, and what remembers its last lines.
    pub(super) fn of(app: &App) -> (App, Arc<Self>) {
        let tail = Arc::new(Self { on: Arc::clone(&app.observer), lines: Mutex::default() });
        (App { observer: Arc::clone(&tail) as Arc<dyn Observer>, ..app.clone() }, tail)
    }

    /// The last lines so far.
    pub(super) fn lines(&self) -> Vec<String> {
        self.lock().iter().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<String>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Tail {
    fn event(&self, event: Event) {
        if let Event::Note(text) | Event::Warning(text) = &event {
            let mut lines = self.lock();
            lines.push_back(text.clone());
            while lines.len() > LINES {
                lines.pop_front();
            }
        }
        self.on.event(event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::Silent;

    #[test]
    fn the_last_lines_are_kept() {
        let tail = Tail { on: Arc::new(Silent), lines: Mutex::default() };
        for number in 0..30 {
            tail.event(Event::Note(number.to_string()));
            tail.event(Event::Stage { key: "dump", total: None });
        }
        assert_eq!(tail.lines(), (10..30).map(|number| number.to_string()).collect::<Vec<_>>());
    }
}
