//! What the daemon's tasks say while they run.

use undercloud_api::admin::{TaskProgress, TaskState, TaskView};

use super::Context;
use crate::out::Format;

/// Prints what a task said since the last look, and on a terminal below it what it is doing.
pub(super) fn show(context: &Context, view: &TaskView) {
    if context.out.format() == Format::Json {
        return;
    }
    // What cannot be printed is in the log all the same.
    for line in &view.lines {
        let _printed = context.out.line(format_args!("        {}", line.text));
    }
    if let Some(TaskProgress { done, total, doing }) = &view.progress
        && view.state == TaskState::Running
    {
        let doing = doing.join(" · ");
        let _printed = context.out.status(&format!("  …     [{done}/{total}] {doing}"));
    }
}
