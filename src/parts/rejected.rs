//! Replaying rejected messages, in whichever process holds the event log: this one, or the running server.

use std::sync::Arc;

use anyhow::{Context, bail};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use kerntrail_common::ids::IdSelection;
use kerntrail_pipeline::rejected::{self, ReplayReport};
use kerntrail_transport::Codec;
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::parts::{self, event_log::Log, http};

/// Where the running server replays.
const PATH: &str = "/api/v1/rejected/replay";

/// What to replay.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Request {
    /// Ids of messages, or their beginnings; none: all.
    #[serde(default)]
    ids: Vec<String>,
}

/// Replays rejected messages into `opened`.
pub async fn replay(config: &Config, opened: &Log, selection: &IdSelection) -> anyhow::Result<ReplayReport> {
    let folder = parts::rejected_dir(config);
    Ok(rejected::replay(&folder, selection, &Codec::current(), opened.log.as_ref()).await?)
}

/// The server's route.
pub fn route(config: &Config, opened: &Log) -> Router {
    Router::new().route(PATH, post(answer)).with_state(Arc::new((config.clone(), opened.clone())))
}

async fn answer(State(state): State<Arc<(Config, Log)>>, Json(request): Json<Request>) -> Response {
    let (config, opened) = &*state;
    match replay(config, opened, &IdSelection::all_or(request.ids)).await {
        Ok(report) => Json(report).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}\n")).into_response(),
    }
}

/// Asks the running server to replay.
pub async fn ask_server(config: &Config, ids: Vec<String>) -> anyhow::Result<ReplayReport> {
    let client = http::Client::new(config)?;
    let request =
        client.post(PATH, &[])?.header("content-type", "application/json").body(serde_json::to_vec(&Request { ids })?);
    let response = request.send().await.context("cannot reach the running kerntrail")?;
    let status = response.status();
    let body = response.bytes().await.context("the running kerntrail ended during the replay; replay again")?;
    if !status.is_success() {
        bail!("the running kerntrail cannot replay: {}", String::from_utf8_lossy(&body).trim());
    }
    serde_json::from_slice(&body).context("unexpected response from the running kerntrail")
}
