//! Requests of a backend's for input, between the eras.
//!
//! Owns what the two ways of asking have in common. A legacy backend sends requests during a call
//! and waits for responses; a modern one answers the call with `input_required` and is called once
//! more with what it wanted. Here is how either is read and written, who may be asked for what, and
//! what a parked call leaves with the client. Never waits, seals nothing, keeps nothing: the effects
//! are the gateway's. What is asked and what is answered crosses byte for byte.

mod capability;
mod digest;
mod error;
mod input;
mod retry;
mod state;
mod url;

pub use capability::{Input, InputCapabilities};
pub use digest::request_digest;
pub use error::{BridgeReason, bridge_error, missing_capability, refusal};
pub use input::{InputError, InputRequest, InputRequired, may_ask, write_input_required};
pub use retry::{may_have_state, response_to, retry_params, retry_state, without_retry};
pub use state::{StateClaims, StateError, Terms};
pub use url::{all_accepted, url_elicitations, url_required, with_elicitation_id};
