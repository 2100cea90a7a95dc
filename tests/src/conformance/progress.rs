//! Tools that say something while they run.

use std::time::Duration;

use rmcp::RoleServer;
use rmcp::model::{
    LoggingLevel, LoggingMessageNotification, LoggingMessageNotificationParam,
    ProgressNotificationParam, ServerNotification,
};
use rmcp::service::RequestContext;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::results::text;

/// Between two messages: long enough for a client to see them apart.
const PAUSE: Duration = Duration::from_millis(50);

/// The result of a tool that talks while it runs; `None` for the others. `chatty` says whether
/// the caller wants log messages.
pub async fn run(
    tool: &str,
    context: &RequestContext<RoleServer>,
    chatty: Chatty,
) -> Option<Value> {
    match tool {
        "test_tool_with_progress" => report_all(context).await,
        "test_tool_with_logging" => {
            for line in [
                "Tool execution started",
                "Tool processing data",
                "Tool execution completed",
            ] {
                write(context, chatty, line).await;
                sleep(PAUSE).await;
            }
        }
        "test_logging_tool" => write(context, chatty, "one line").await,
        "test_reconnection" => sleep(PAUSE).await,
        _ => return None,
    }
    Some(text(&format!("{tool} finished")))
}

/// Whether log messages are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chatty {
    Yes,
    No,
}

/// Three steps, if the caller wants to hear of them.
pub async fn report_all(context: &RequestContext<RoleServer>) {
    for done in [0.0, 50.0, 100.0] {
        report(context, done).await;
        sleep(PAUSE).await;
    }
}

async fn report(context: &RequestContext<RoleServer>, done: f64) {
    let Some(token) = context.meta.get_progress_token() else {
        return;
    };
    let progress = ProgressNotificationParam::new(token, done).with_total(100.0);
    if let Err(error) = context.peer.notify_progress(progress).await {
        tracing::debug!(%error, "progress is lost");
    }
}

async fn write(context: &RequestContext<RoleServer>, chatty: Chatty, line: &str) {
    if chatty == Chatty::No {
        return;
    }
    let message = LoggingMessageNotificationParam::new(LoggingLevel::Info, json!(line));
    let message = LoggingMessageNotification::new(message);
    let message = ServerNotification::LoggingMessageNotification(message);
    if let Err(error) = context.peer.send_notification(message).await {
        tracing::debug!(%error, "a log message is lost");
    }
}
