//! A legacy request as a modern backend wants it: `_meta` in front of the other params.
//!
//! The way back needs nothing but the envelope: a legacy client passes over `resultType`.

use anyhow::{Context, Result};

use crate::wire::{self, Envelope};

const META: &str = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"reference","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}}"#;

pub fn to_modern(body: &str) -> Result<String> {
    let envelope: Envelope<'_> = serde_json::from_str(body)?;
    let params = envelope.params.context("no params")?.get();
    let rest = params.strip_prefix('{').context("params is no object")?;
    let separator = if rest.trim_start().starts_with('}') {
        ""
    } else {
        ","
    };
    Ok(wire::splice(
        body,
        params,
        &format!("{{{META}{separator}{rest}"),
    ))
}
