//! What a client can be asked for.

use crate::jsonrpc::{RpcError, raw};
use crate::mcp::error::code;
use crate::mcp::{ProtocolVersion, method};

/// One thing that a client may be able to give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    ElicitationForm,
    ElicitationUrl,
    Sampling,
    SamplingTools,
    Roots,
}

impl Input {
    pub const ALL: [Self; 5] = [
        Self::ElicitationForm,
        Self::ElicitationUrl,
        Self::Sampling,
        Self::SamplingTools,
        Self::Roots,
    ];

    /// The revision that brought it.
    #[must_use]
    pub const fn since(self) -> ProtocolVersion {
        match self {
            Self::ElicitationForm => ProtocolVersion::V2025_06_18,
            Self::ElicitationUrl | Self::SamplingTools => ProtocolVersion::V2025_11_25,
            Self::Sampling | Self::Roots => ProtocolVersion::V2024_11_05,
        }
    }

    /// As `ClientCapabilities` would have to say it.
    #[must_use]
    pub const fn declaration(self) -> &'static str {
        match self {
            Self::ElicitationForm => r#"{"elicitation":{"form":{}}}"#,
            Self::ElicitationUrl => r#"{"elicitation":{"url":{}}}"#,
            Self::Sampling => r#"{"sampling":{}}"#,
            Self::SamplingTools => r#"{"sampling":{"tools":{}}}"#,
            Self::Roots => r#"{"roots":{}}"#,
        }
    }
}

/// What a client has declared, as far as its revision knows it. Both eras declare in one shape.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InputCapabilities(Vec<Input>);

impl InputCapabilities {
    /// From the raw `capabilities` of `initialize`, or `clientCapabilities` of `_meta`.
    #[must_use]
    pub fn declared(version: ProtocolVersion, capabilities: Option<&str>) -> Self {
        let Some(capabilities) = capabilities else {
            return Self::default();
        };
        let has =
            |input: &Input| version >= input.since() && declares(capabilities, *input, version);
        Self(Input::ALL.into_iter().filter(has).collect())
    }

    #[must_use]
    pub fn has(&self, input: Input) -> bool {
        self.0.contains(&input)
    }

    /// May this client be sent this request?
    ///
    /// # Errors
    /// As the client itself would refuse it: -32601 for a method that it does not know, -32602 for
    /// a mode that it does not have.
    pub fn check(&self, of: &str, params: Option<&str>) -> Result<(), RpcError> {
        let params = params.unwrap_or("{}");
        let needed = match of {
            method::ELICITATION_CREATE => match raw::top_level(params, "mode") {
                None | Some("\"form\"") => Input::ElicitationForm,
                Some("\"url\"") => Input::ElicitationUrl,
                Some(other) => return Err(not_offered(code::INVALID_PARAMS, of, other)),
            },
            method::SAMPLING_CREATE_MESSAGE if raw::top_level(params, "tools").is_some() => {
                Input::SamplingTools
            }
            method::SAMPLING_CREATE_MESSAGE => Input::Sampling,
            method::ROOTS_LIST => Input::Roots,
            other => return Err(not_offered(code::METHOD_NOT_FOUND, other, "at all")),
        };
        match needed {
            needed if self.has(needed) => Ok(()),
            Input::ElicitationForm if self.has(Input::ElicitationUrl) => {
                Err(not_offered(code::INVALID_PARAMS, of, "in form mode"))
            }
            Input::ElicitationUrl if self.has(Input::ElicitationForm) => {
                Err(not_offered(code::INVALID_PARAMS, of, "in URL mode"))
            }
            Input::SamplingTools if self.has(Input::Sampling) => {
                Err(not_offered(code::INVALID_PARAMS, of, "with tools"))
            }
            _ => Err(not_offered(code::METHOD_NOT_FOUND, of, "at all")),
        }
    }
}

fn declares(capabilities: &str, input: Input, version: ProtocolVersion) -> bool {
    let object = |key| raw::top_level(capabilities, key).filter(|raw| raw.starts_with('{'));
    let inside = |key, member| object(key).is_some_and(|raw| raw::top_level(raw, member).is_some());
    match input {
        // Nothing said about modes means form. Before there were modes, whatever was said did.
        Input::ElicitationForm if version < Input::ElicitationUrl.since() => {
            object("elicitation").is_some()
        }
        Input::ElicitationForm => object("elicitation").is_some_and(|raw| {
            raw::top_level(raw, "form").is_some() || raw::top_level(raw, "url").is_none()
        }),
        Input::ElicitationUrl => inside("elicitation", "url"),
        Input::Sampling => object("sampling").is_some(),
        Input::SamplingTools => inside("sampling", "tools"),
        Input::Roots => object("roots").is_some(),
    }
}

fn not_offered(code: i64, method: &str, how: &str) -> RpcError {
    RpcError::new(code, format!("the client does not offer {method} {how}"))
}
