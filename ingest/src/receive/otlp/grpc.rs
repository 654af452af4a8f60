//! OTLP over gRPC: the three export services.
//!
//! The services accept gzip and limit the size of a message; serving them is the caller's part.
//! A message that is no protobuf is refused by tonic itself, with `INTERNAL`.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;
use opentelemetry_proto::tonic::collector::{
    logs::v1::{
        ExportLogsServiceRequest, ExportLogsServiceResponse,
        logs_service_server::{LogsService, LogsServiceServer},
    },
    metrics::v1::{
        ExportMetricsServiceRequest, ExportMetricsServiceResponse,
        metrics_service_server::{MetricsService, MetricsServiceServer},
    },
    trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
};
use prost::Message as _;
use tonic::{Code, Response, Status, codec::CompressionEncoding, metadata::MetadataMap};

use super::{Encoding, logs, metrics, reply, traces};
use crate::{Error, Receipt, Request, Sink, receive::Format};

/// Decides from the metadata `authorization` who is calling: the tenant, or why not.
pub type Authorize =
    Arc<dyn Fn(Option<String>) -> BoxFuture<'static, Result<String, Denied>> + Send + Sync>;

/// Why a caller may not write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// No key, or one that is not known: `UNAUTHENTICATED`.
    Unknown,
    /// A key that may not write: `PERMISSION_DENIED`.
    Forbidden,
    /// Keys cannot be checked just now: `UNAVAILABLE`.
    Unavailable,
}

/// Takes exports and hands them to a [`Sink`].
#[derive(Clone)]
pub struct Receiver {
    sink: Arc<dyn Sink>,
    authorize: Authorize,
    limit: usize,
}

impl Receiver {
    /// A receiver of messages of at most `limit` bytes once inflated.
    pub fn new(sink: Arc<dyn Sink>, authorize: Authorize, limit: usize) -> Self {
        Self { sink, authorize, limit }
    }

    /// The service for metrics.
    pub fn metrics(&self) -> MetricsServiceServer<Self> {
        MetricsServiceServer::new(self.clone())
            .accept_compressed(CompressionEncoding::Gzip)
            .max_decoding_message_size(self.limit)
    }

    /// The service for logs.
    pub fn logs(&self) -> LogsServiceServer<Self> {
        LogsServiceServer::new(self.clone())
            .accept_compressed(CompressionEncoding::Gzip)
            .max_decoding_message_size(self.limit)
    }

    /// The service for traces.
    pub fn traces(&self) -> TraceServiceServer<Self> {
        TraceServiceServer::new(self.clone())
            .accept_compressed(CompressionEncoding::Gzip)
            .max_decoding_message_size(self.limit)
    }

    /// Encoding the message again recognises a repeated export: the body itself is gone by now.
    async fn write(
        &self,
        metadata: &MetadataMap,
        format: Format,
        decode: impl FnOnce() -> (Request, Vec<u8>) + Send,
    ) -> Result<Receipt, Status> {
        let key = metadata.get("authorization").and_then(|value| value.to_str().ok());
        let tenant = (self.authorize)(key.map(str::to_owned)).await.map_err(denied)?;
        let (mut request, body) = decode();
        request.fingerprint =
            Some(crate::receive::fingerprint(format, Encoding::Protobuf as u8, &body));
        self.sink.write(request, &tenant).await.map_err(|error| failed(&error))
    }
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").field("sink", &self.sink).field("limit", &self.limit).finish()
    }
}

fn denied(denied: Denied) -> Status {
    match denied {
        Denied::Unknown => Status::unauthenticated("send a key as `authorization: Bearer KEY`"),
        Denied::Forbidden => Status::permission_denied("this key may not write"),
        Denied::Unavailable => Status::unavailable("keys cannot be checked now, try again"),
    }
}

/// What a sender over gRPC is told of an error, with when to come again if that helps.
pub fn failed(error: &Error) -> Status {
    let status = reply::status(error);
    let details = Bytes::from(status.encode_to_vec());
    Status::with_details(Code::from(status.code), status.message, details)
}

#[async_trait]
impl MetricsService for Receiver {
    async fn export(
        &self,
        request: tonic::Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        let (metadata, _, message) = request.into_parts();
        let decode = || {
            let body = message.encode_to_vec();
            (metrics::read(message), body)
        };
        let receipt = self.write(&metadata, Format::OtlpMetrics, decode).await?;
        Ok(Response::new(reply::metrics(&receipt)))
    }
}

#[async_trait]
impl LogsService for Receiver {
    async fn export(
        &self,
        request: tonic::Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        let (metadata, _, message) = request.into_parts();
        let decode = || {
            let body = message.encode_to_vec();
            (logs::read(message), body)
        };
        let receipt = self.write(&metadata, Format::OtlpLogs, decode).await?;
        Ok(Response::new(reply::logs(&receipt)))
    }
}

#[async_trait]
impl TraceService for Receiver {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let (metadata, _, message) = request.into_parts();
        let decode = || {
            let body = message.encode_to_vec();
            (traces::read(message), body)
        };
        let receipt = self.write(&metadata, Format::OtlpTraces, decode).await?;
        Ok(Response::new(reply::traces(&receipt)))
    }
}
