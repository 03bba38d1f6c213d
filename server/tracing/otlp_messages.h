// File: otlp_messages.h
//
// Spans as OTLP writes them.
//
//   const ExportRequest request = MakeExportRequest(ResourceAttributes(instance), spans);
//
// Bytes that are no UTF-8 become `?`.
//
// Pure and thread-safe.
#ifndef DENOISED_SERVER_TRACING_OTLP_MESSAGES_H_
#define DENOISED_SERVER_TRACING_OTLP_MESSAGES_H_

#include <map>
#include <string>
#include <vector>

#include "opentelemetry/proto/collector/trace/v1/trace_service.pb.h"
#include "server/telemetry/span.h"

namespace denoised {

using ExportRequest = opentelemetry::proto::collector::trace::v1::ExportTraceServiceRequest;

ExportRequest MakeExportRequest(const std::map<std::string, std::string>& resource, const std::vector<Span>& spans);

}  // namespace denoised

#endif  // DENOISED_SERVER_TRACING_OTLP_MESSAGES_H_
