//! The live fan-out: every backend is asked, the definitions are joined as they are.
//!
//! Nothing is kept from one list to the next; a backend that hangs hangs the list.

use std::fmt::Write as _;
use std::sync::Arc;

use anyhow::{Context, Result};
use bytes::Bytes;
use futures::future::try_join_all;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Asked, Multiplexer, Reply, Session, check, json, translate};
use crate::wire::{self, Envelope, Era, Kind};

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    result: Listed<'a>,
}

#[derive(Deserialize)]
struct Listed<'a> {
    #[serde(borrow)]
    tools: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct Named<'a> {
    #[serde(borrow)]
    name: &'a RawValue,
}

impl Multiplexer {
    pub(super) async fn list(
        &self,
        era: Era,
        session: Option<&str>,
        body: &str,
        _envelope: &Envelope<'_>,
        id: &RawValue,
    ) -> Result<Reply> {
        let session = self.session(session)?;
        let body: Bytes = match (era, self.kind) {
            (Era::Legacy, Kind::Modern) => translate::to_modern(body)?.into(),
            _ => body.to_owned().into(),
        };
        let asked = (0..self.backends.len())
            .map(|backend| self.list_of(backend, session.clone(), body.clone()));
        let answers = try_join_all(asked).await?;
        let mut out = String::with_capacity(answers.iter().map(|answer| answer.len() + 512).sum());
        let _ = write!(
            out,
            r#"{{"jsonrpc":"2.0","id":{},"result":{{"tools":["#,
            id.get()
        );
        let mut separator = "";
        for (backend, answer) in answers.iter().enumerate() {
            check(answer, id)?;
            let answer: Answer<'_> = serde_json::from_slice(answer)?;
            let prefix = wire::backend_name(backend);
            for tool in answer.result.tools {
                let named: Named<'_> = serde_json::from_str(tool.get())?;
                let at = wire::position(tool.get(), named.name.get());
                let bare = named.name.get().strip_prefix('"').context("no name")?;
                let (before, after) = (&tool.get()[..at.start], &tool.get()[at.end..]);
                let _ = write!(out, "{separator}{before}\"{prefix}_{bare}{after}");
                separator = ",";
            }
        }
        out.push_str(match era {
            Era::Modern => r#"],"resultType":"complete","ttlMs":60000,"cacheScope":"public"}}"#,
            Era::Legacy => "]}}",
        });
        Ok(json(http::StatusCode::OK, out.into()))
    }

    async fn list_of(
        &self,
        backend: usize,
        session: Option<Arc<Session>>,
        body: Bytes,
    ) -> Result<Bytes> {
        let upstream = &self.backends[backend];
        let place = session.as_deref().map(|session| &session.upstream[backend]);
        let asked = Asked {
            method: "tools/list",
            name: None,
            session: upstream.session(place).await?,
        };
        upstream.ask(self.kind, asked, body).await
    }
}
