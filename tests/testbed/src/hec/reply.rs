//! The replies of an HTTP Event Collector: the documented codes with their HTTP status and text.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// A documented reply. The discriminant is the `code` in the body.
#[allow(missing_docs, reason = "each is named after its documented text, see `Code::text`")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Code {
    Success = 0,
    TokenDisabled = 1,
    TokenRequired = 2,
    InvalidAuthorization = 3,
    InvalidToken = 4,
    NoData = 5,
    InvalidDataFormat = 6,
    IncorrectIndex = 7,
    InternalServerError = 8,
    ServerBusy = 9,
    ChannelMissing = 10,
    InvalidChannel = 11,
    EventRequired = 12,
    EventBlank = 13,
    AckDisabled = 14,
    IndexedFields = 15,
    QueryAuthorizationDisabled = 16,
    Healthy = 17,
    UnhealthyQueuesFull = 18,
    UnhealthyAckUnavailable = 19,
    UnhealthyQueuesFullAckUnavailable = 20,
}

impl Code {
    /// The number in the body.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// The text in the body.
    pub fn text(self) -> &'static str {
        match self {
            Code::Success => "Success",
            Code::TokenDisabled => "Token disabled",
            Code::TokenRequired => "Token is required",
            Code::InvalidAuthorization => "Invalid authorization",
            Code::InvalidToken => "Invalid token",
            Code::NoData => "No data",
            Code::InvalidDataFormat => "Invalid data format",
            Code::IncorrectIndex => "Incorrect index",
            Code::InternalServerError => "Internal server error",
            Code::ServerBusy => "Server is busy",
            Code::ChannelMissing => "Data channel is missing",
            Code::InvalidChannel => "Invalid data channel",
            Code::EventRequired => "Event field is required",
            Code::EventBlank => "Event field cannot be blank",
            Code::AckDisabled => "ACK is disabled",
            Code::IndexedFields => "Error in handling indexed fields",
            Code::QueryAuthorizationDisabled => "Query string authorization is not enabled",
            Code::Healthy => "HEC is healthy",
            Code::UnhealthyQueuesFull => "HEC is unhealthy, queues are full",
            Code::UnhealthyAckUnavailable => "HEC is unhealthy, ack service unavailable",
            Code::UnhealthyQueuesFullAckUnavailable => "HEC is unhealthy, queues are full, ack service unavailable",
        }
    }

    /// The HTTP status of the reply.
    pub fn status(self) -> StatusCode {
        match self {
            Code::Success | Code::Healthy => StatusCode::OK,
            Code::TokenRequired | Code::InvalidAuthorization => StatusCode::UNAUTHORIZED,
            Code::TokenDisabled | Code::InvalidToken => StatusCode::FORBIDDEN,
            Code::InternalServerError => StatusCode::INTERNAL_SERVER_ERROR,
            Code::ServerBusy
            | Code::UnhealthyQueuesFull
            | Code::UnhealthyAckUnavailable
            | Code::UnhealthyQueuesFullAckUnavailable => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::BAD_REQUEST,
        }
    }
}

/// The reply to a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The code.
    pub code: Code,
    /// For a refused event of a batch: its position, counted from 0.
    pub invalid_event: Option<usize>,
    /// For an accepted delivery with acknowledgement: the id to ask for.
    pub ack_id: Option<u64>,
}

impl Reply {
    /// The reply to a batch whose event number `position` is refused.
    pub(super) fn refused(code: Code, position: usize) -> Self {
        Self { code, invalid_event: Some(position), ack_id: None }
    }

    /// The body.
    pub fn body(&self) -> Value {
        let mut body = json!({"text": self.code.text(), "code": self.code.number()});
        if let Some(position) = self.invalid_event {
            body["invalid-event-number"] = position.into();
        }
        if let Some(id) = self.ack_id {
            body["ackId"] = id.into();
        }
        body
    }
}

impl From<Code> for Reply {
    fn from(code: Code) -> Self {
        Self { code, invalid_event: None, ack_id: None }
    }
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        (self.code.status(), Json(self.body())).into_response()
    }
}
