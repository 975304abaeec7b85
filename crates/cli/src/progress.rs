//! Progress bars, on terminals only.

use std::time::Duration;

use hikyaku_files::Moment;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::output;

/// How often the bar is drawn.
const REDRAW: Duration = Duration::from_millis(100);

/// The progress of one transfer, drawn until it is dropped.
pub(crate) struct Bar(Option<(ProgressBar, JoinHandle<()>)>);

impl Bar {
    /// Draws the progress of `name` if somebody watches.
    pub(crate) fn show(wanted: bool, name: &[u8], moments: watch::Receiver<Moment>) -> Self {
        if !wanted || !output::is_watched() {
            return Self(None);
        }
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template(
            "{msg} {wide_bar} {bytes}/{total_bytes} {binary_bytes_per_sec} {eta}",
        );
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_message(hikyaku_files::escape(name).to_string());
        let drawn = bar.clone();
        let task = tokio::spawn(async move {
            loop {
                let moment = *moments.borrow();
                if let Some(total) = moment.total {
                    drawn.set_length(total);
                }
                drawn.set_position(moment.bytes);
                tokio::time::sleep(REDRAW).await;
            }
        });
        Self(Some((bar, task)))
    }

    /// Takes the bar away: what follows says how it ended.
    pub(crate) fn finish(self) {}
}

impl Drop for Bar {
    fn drop(&mut self) {
        if let Some((bar, task)) = self.0.take() {
            task.abort();
            bar.finish_and_clear();
        }
    }
}
