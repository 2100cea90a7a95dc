//! Method names, and the bounded set of them that may become a metric label.

macro_rules! methods {
    ($($name:ident = $text:literal),+ $(,)?) => {
        $(pub const $name: &str = $text;)+

        /// Every name above.
        pub const ALL: &[&str] = &[$($name),+];
    };
}

methods!(
    INITIALIZE = "initialize",
    PING = "ping",
    SERVER_DISCOVER = "server/discover",
    TOOLS_LIST = "tools/list",
    TOOLS_CALL = "tools/call",
    PROMPTS_LIST = "prompts/list",
    PROMPTS_GET = "prompts/get",
    RESOURCES_LIST = "resources/list",
    RESOURCES_TEMPLATES_LIST = "resources/templates/list",
    RESOURCES_READ = "resources/read",
    RESOURCES_SUBSCRIBE = "resources/subscribe",
    RESOURCES_UNSUBSCRIBE = "resources/unsubscribe",
    SUBSCRIPTIONS_LISTEN = "subscriptions/listen",
    COMPLETION_COMPLETE = "completion/complete",
    LOGGING_SET_LEVEL = "logging/setLevel",
    TASKS_GET = "tasks/get",
    TASKS_UPDATE = "tasks/update",
    TASKS_CANCEL = "tasks/cancel",
    TASKS_LIST = "tasks/list",
    TASKS_RESULT = "tasks/result",
    ROOTS_LIST = "roots/list",
    SAMPLING_CREATE_MESSAGE = "sampling/createMessage",
    ELICITATION_CREATE = "elicitation/create",
    NOTIFICATION_INITIALIZED = "notifications/initialized",
    NOTIFICATION_CANCELLED = "notifications/cancelled",
    NOTIFICATION_PROGRESS = "notifications/progress",
    NOTIFICATION_MESSAGE = "notifications/message",
    NOTIFICATION_TOOLS_LIST_CHANGED = "notifications/tools/list_changed",
    NOTIFICATION_PROMPTS_LIST_CHANGED = "notifications/prompts/list_changed",
    NOTIFICATION_RESOURCES_LIST_CHANGED = "notifications/resources/list_changed",
    NOTIFICATION_RESOURCES_UPDATED = "notifications/resources/updated",
    NOTIFICATION_ROOTS_LIST_CHANGED = "notifications/roots/list_changed",
    NOTIFICATION_ELICITATION_COMPLETE = "notifications/elicitation/complete",
    NOTIFICATION_SUBSCRIPTIONS_ACKNOWLEDGED = "notifications/subscriptions/acknowledged",
);

/// The method as a metric label: itself where it is MCP's, else `other`, so that a client cannot
/// make labels.
#[must_use]
pub fn known_method(method: &str) -> &'static str {
    ALL.iter()
        .copied()
        .find(|known| *known == method)
        .unwrap_or("other")
}
