//! The server as `rmcp` sees it: lists from [`definitions`], answers from the modules beside.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::try_join_all;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, ClientCapabilities, CompleteRequestParams,
    CompleteResult, CompletionInfo, ErrorCode, GetPromptRequestParams, GetPromptResponse,
    Implementation, InputRequest, InputRequiredResult, InputResponses, ListPromptsResult,
    ListResourceTemplatesResult, ListResourcesResult, ListToolsResult, LoggingLevel,
    PaginatedRequestParams, ProtocolVersion, ReadResourceRequestParams, ReadResourceResponse,
    ServerCapabilities, ServerConfig, ServerRequest, SetLevelRequestParams, SubscribeRequestParams,
    SubscriptionFilter, Tool, UnsubscribeRequestParams,
};
use rmcp::service::{NotificationContext, RequestContext, SubscriptionContext};
use rmcp::{ErrorData, RoleServer, ServerHandler};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::changes::{Change, Changes, Subscriptions};
use super::progress::Chatty;
use super::rounds::{Call, Can, Step};
use super::{Era, definitions, progress, resources, results, rounds, state};

/// Rounds that a call may take in the legacy era before it is given up.
const MAX_ROUNDS: usize = 8;

/// One session, or one request where there are no sessions.
#[derive(Clone, Debug)]
pub struct Handler {
    era: Era,
    changes: Changes,
    subscriptions: Subscriptions,
    level: Arc<Mutex<Option<LoggingLevel>>>,
}

type Context = RequestContext<RoleServer>;

impl Handler {
    #[must_use]
    pub fn new(era: Era, changes: Changes) -> Self {
        Self {
            era,
            changes,
            subscriptions: Subscriptions::default(),
            level: Arc::default(),
        }
    }

    fn chatty(&self, context: &Context) -> Chatty {
        let level = if is_modern(context) {
            context.meta.log_level()
        } else {
            // A session that never set a level gets everything, as the revisions allow.
            let level = *self.level.lock().unwrap_or_else(PoisonError::into_inner);
            Some(level.unwrap_or(LoggingLevel::Debug))
        };
        match level {
            Some(LoggingLevel::Debug | LoggingLevel::Info) => Chatty::Yes,
            _ => Chatty::No,
        }
    }

    /// The result of a tool that changes something; `None` for the others.
    async fn change(&self, tool: &str, arguments: &Map<String, Value>) -> Option<Value> {
        let change = match tool {
            "test_trigger_tool_change" => Change::Tools,
            "test_trigger_prompt_change" => Change::Prompts,
            "test_touch_resource" => Change::Resource(arguments.get("uri")?.as_str()?.to_owned()),
            _ => return None,
        };
        self.changes.announce(change).await;
        Some(results::text("announced"))
    }
}

impl ServerHandler for Handler {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder()
            .enable_tools()
            .enable_tool_list_changed()
            .enable_prompts()
            .enable_prompts_list_changed()
            .enable_resources()
            .enable_resources_subscribe()
            .enable_completions()
            .enable_logging()
            .build();
        ServerConfig::new(capabilities)
            .with_server_info(Implementation::new("conformance-backend", "1.0.0"))
            .with_instructions("Implements what the scenarios of the conformance suite name")
    }

    fn supported_protocol_versions(&self) -> Cow<'static, [ProtocolVersion]> {
        Cow::Borrowed(match self.era {
            Era::Legacy => ProtocolVersion::known_up_to(&ProtocolVersion::V_2025_11_25),
            Era::Modern => &[ProtocolVersion::V_2026_07_28],
            Era::Dual => ProtocolVersion::KNOWN_VERSIONS,
        })
    }

    async fn on_initialized(&self, context: NotificationContext<RoleServer>) {
        self.changes
            .remember(context.peer, self.subscriptions.clone());
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: Context,
    ) -> Result<ListToolsResult, ErrorData> {
        complete(json!({"tools": definitions::tools(self.changes.tools())}))
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        let found = definitions::tools(self.changes.tools())
            .into_iter()
            .find(|tool| tool["name"] == name)?;
        serde_json::from_value(found).ok()
    }

    async fn list_prompts(
        &self,
        _: Option<PaginatedRequestParams>,
        _: Context,
    ) -> Result<ListPromptsResult, ErrorData> {
        complete(json!({"prompts": definitions::prompts(self.changes.prompts())}))
    }

    async fn list_resources(
        &self,
        _: Option<PaginatedRequestParams>,
        _: Context,
    ) -> Result<ListResourcesResult, ErrorData> {
        complete(json!({"resources": definitions::resources()}))
    }

    async fn list_resource_templates(
        &self,
        _: Option<PaginatedRequestParams>,
        _: Context,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        complete(json!({"resourceTemplates": definitions::templates()}))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: Context,
    ) -> Result<CallToolResponse, ErrorData> {
        let tool = request.name.to_string();
        let arguments = request.arguments.unwrap_or_default();
        let done = |result: Value| complete(result).map(CallToolResponse::Complete);
        if let Some(result) = results::fixed(&tool, &arguments) {
            return done(result);
        }
        if let Some(result) = self.change(&tool, &arguments).await {
            return done(result);
        }
        if let Some(result) = progress::run(&tool, &context, self.chatty(&context)).await {
            return done(result);
        }
        let asked = Asked {
            name: &tool,
            arguments,
            responses: request.input_responses,
            state: request.request_state,
        };
        match ask(asked, &context).await? {
            Outcome::Done(result) => {
                if tool == "test_progress_after_question" {
                    progress::report_all(&context).await;
                }
                done(result)
            }
            Outcome::InputRequired(result) => Ok(CallToolResponse::InputRequired(result)),
            Outcome::Unknown => Err(ErrorData::invalid_params(
                format!("Unknown tool: {tool}"),
                None,
            )),
        }
    }

    async fn get_prompt(
        &self,
        request: GetPromptRequestParams,
        context: Context,
    ) -> Result<GetPromptResponse, ErrorData> {
        let arguments = request.arguments.unwrap_or_default();
        let done = |result: Value| complete(result).map(GetPromptResponse::Complete);
        if let Some(result) = resources::prompt(&request.name, &arguments) {
            return done(result);
        }
        let asked = Asked {
            name: &request.name,
            arguments,
            responses: request.input_responses,
            state: request.request_state,
        };
        match ask(asked, &context).await? {
            Outcome::Done(result) => done(result),
            Outcome::InputRequired(result) => Ok(GetPromptResponse::InputRequired(result)),
            Outcome::Unknown => Err(ErrorData::invalid_params(
                format!("Unknown prompt: {}", request.name),
                None,
            )),
        }
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        _: Context,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let Some(result) = resources::read(&request.uri) else {
            let data = json!({"uri": request.uri});
            return Err(ErrorData::resource_not_found(
                "Resource not found",
                Some(data),
            ));
        };
        complete(result).map(ReadResourceResponse::Complete)
    }

    async fn complete(
        &self,
        request: CompleteRequestParams,
        _: Context,
    ) -> Result<CompleteResult, ErrorData> {
        let values = resources::completions(&request.argument.value);
        let info =
            CompletionInfo::new(values).map_err(|error| ErrorData::internal_error(error, None))?;
        Ok(CompleteResult::new(info))
    }

    async fn set_level(
        &self,
        request: SetLevelRequestParams,
        context: Context,
    ) -> Result<(), ErrorData> {
        if is_modern(&context) {
            let code = ErrorCode::METHOD_NOT_FOUND;
            return Err(ErrorData::new(code, "logging/setLevel", None));
        }
        *self.level.lock().unwrap_or_else(PoisonError::into_inner) = Some(request.level);
        Ok(())
    }

    async fn subscribe(
        &self,
        request: SubscribeRequestParams,
        _: Context,
    ) -> Result<(), ErrorData> {
        self.subscriptions.add(request.uri);
        Ok(())
    }

    async fn unsubscribe(
        &self,
        request: UnsubscribeRequestParams,
        _: Context,
    ) -> Result<(), ErrorData> {
        self.subscriptions.remove(&request.uri);
        Ok(())
    }

    fn accepted_subscription_filter(
        &self,
        requested: &SubscriptionFilter,
    ) -> Option<SubscriptionFilter> {
        Some(requested.clone())
    }

    async fn listen(&self, listener: SubscriptionContext) -> Result<(), ErrorData> {
        self.changes.feed(listener).await;
        Ok(())
    }
}

/// A call or a prompt that may ask before it answers.
struct Asked<'a> {
    name: &'a str,
    arguments: Map<String, Value>,
    responses: Option<InputResponses>,
    state: Option<String>,
}

enum Outcome {
    Done(Value),
    InputRequired(InputRequiredResult),
    Unknown,
}

async fn ask(asked: Asked<'_>, context: &Context) -> Result<Outcome, ErrorData> {
    let state = match &asked.state {
        None => None,
        Some(sealed) => Some(state::open(sealed).ok_or_else(|| {
            ErrorData::invalid_params("requestState failed its integrity check", None)
        })?),
    };
    let responses = asked.responses.unwrap_or_default().into_iter();
    let mut call = Call {
        arguments: asked.arguments,
        responses: responses.filter(|(_, answer)| answer.is_object()).collect(),
        state,
        can: abilities(context),
    };
    for _ in 0..MAX_ROUNDS {
        let Some(step) = rounds::step(asked.name, &call) else {
            return Ok(Outcome::Unknown);
        };
        match step {
            Step::Done(result) => return Ok(Outcome::Done(result)),
            Step::Lacks(capability) => return Err(lacking(capability, context)),
            Step::Ask { requests, state } if is_modern(context) => {
                let requests = typed(Value::Object(requests))?;
                let state = state.as_ref().map(state::seal);
                let result = InputRequiredResult::new(Some(requests), state);
                return Ok(Outcome::InputRequired(result));
            }
            Step::Ask { requests, state } => {
                call.state = state;
                // All at once, as the modern form has it.
                let asked = requests.into_iter().map(|(name, request)| async {
                    let answer = put(typed(request)?, context).await?;
                    Ok::<_, ErrorData>((name, answer))
                });
                call.responses.extend(try_join_all(asked).await?);
            }
        }
    }
    Err(ErrorData::internal_error("too many rounds", None))
}

/// Puts one question to a legacy client.
async fn put(request: InputRequest, context: &Context) -> Result<Value, ErrorData> {
    let request = match request {
        InputRequest::CreateMessage(request) => ServerRequest::CreateMessageRequest(request),
        InputRequest::Elicitation(request) => ServerRequest::ElicitRequest(request),
        InputRequest::ListRoots(request) => ServerRequest::ListRootsRequest(request),
        _ => {
            return Err(ErrorData::internal_error(
                "a question of no known kind",
                None,
            ));
        }
    };
    let answer = context.peer.send_request(request).await.map_err(|error| {
        ErrorData::internal_error(format!("the client did not answer: {error}"), None)
    })?;
    serde_json::to_value(answer).map_err(|error| ErrorData::internal_error(error.to_string(), None))
}

fn abilities(context: &Context) -> Can {
    let declared = context.client_capabilities().unwrap_or_default();
    Can {
        elicit: declared.elicitation.is_some(),
        sample: declared.sampling.is_some(),
        list_roots: declared.roots.is_some(),
    }
}

fn lacking(capability: &str, context: &Context) -> ErrorData {
    let text = format!("the client does not support {capability}");
    match typed::<ClientCapabilities>(json!({capability: {}})) {
        Ok(required) if is_modern(context) => {
            ErrorData::missing_required_client_capability(required)
        }
        _ => ErrorData::invalid_request(text, None),
    }
}

fn is_modern(context: &Context) -> bool {
    context
        .protocol_version()
        .is_some_and(|version| version.as_str() >= ProtocolVersion::V_2026_07_28.as_str())
}

/// A result; the library strips `resultType` where the client is older than it.
fn complete<T: DeserializeOwned>(mut result: Value) -> Result<T, ErrorData> {
    result["resultType"] = json!("complete");
    typed(result)
}

/// What we write as JSON, in the library's type.
fn typed<T: DeserializeOwned>(value: Value) -> Result<T, ErrorData> {
    serde_json::from_value(value)
        .map_err(|error| ErrorData::internal_error(error.to_string(), None))
}
