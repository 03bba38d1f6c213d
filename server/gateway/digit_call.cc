#include "server/gateway/digit_call.h"

#include "absl/strings/str_cat.h"
#include "server/gateway/json_answer.h"

namespace denoised {
namespace {

constexpr char kRequestId[] = "x-request-id";

}  // namespace

HttpResponse NamedAfter(const grpc::ClientContext& call, HttpResponse response) {
  for (const auto* metadata : {&call.GetServerInitialMetadata(), &call.GetServerTrailingMetadata()}) {
    const auto id = metadata->find(kRequestId);
    if (id == metadata->end()) continue;
    response.headers.emplace_back(kRequestIdHeader, std::string(id->second.data(), id->second.size()));
    break;
  }
  return response;
}

// ---- Any call ----

// NOTE: the hold keeps the call open while nothing is being read, which is then begun on another thread.
void DigitCall::Start(v1::DigitService::Stub& stub, const v1::GenerateDigitRequest& request,
                      const CallMetadata& metadata, std::function<void()> on_over) {
  self_ = shared_from_this();
  request_ = request;
  on_over_ = std::move(on_over);
  for (const auto& [key, value] : metadata) context_.AddMetadata(key, value);
  stub.async()->GenerateDigit(&context_, &request_, this);
  AddHold();
  StartRead(&event_);
  StartCall();
}

void DigitCall::Refuse(const absl::Status& status) { responder_->Send(ErrorAnswer(status)); }

void DigitCall::Cancel() {
  context_.TryCancel();
  const absl::MutexLock lock(&mu_);
  if (std::exchange(gone_, true)) return;
  if (!reading_) RemoveHold();  // nobody will ask for another event
}

void DigitCall::OnReadDone(bool ok) {
  {
    const absl::MutexLock lock(&mu_);
    reading_ = false;
    if (!ok || gone_) {
      gone_ = true;
      return RemoveHold();
    }
  }
  OnEvent(event_, [self = shared_from_this()] { self->Next(); });
}

void DigitCall::Next() {
  const absl::MutexLock lock(&mu_);
  if (gone_) return;
  reading_ = true;
  StartRead(&event_);
}

void DigitCall::OnDone(const grpc::Status& status) {
  const std::shared_ptr<DigitCall> self = std::move(self_);
  OnEnd(status);
  responder_.reset();  // NOTE: before the gateway may end
  on_over_();
}

HttpResponse DigitCall::Named(HttpResponse response) const { return NamedAfter(context_, std::move(response)); }

// ---- Lines of JSON ----

void DigitLinesCall::OnEvent(v1::GenerateDigitResponse& event, std::function<void()> next) {
  if (!std::exchange(began_, true)) {
    responder().Begin(Named({.content_type = "application/x-ndjson", .headers = {{"Cache-Control", "no-store"}}}));
  }
  responder().Write(JsonLine(event), std::move(next));
}

void DigitLinesCall::OnEnd(const grpc::Status& status) {
  if (!began_) return responder().Send(Named(ErrorAnswer(status)));
  if (!status.ok()) responder().Write(ErrorLine(status), nullptr);
  responder().End();
}

// ---- A picture ----

void DigitPictureCall::OnEvent(v1::GenerateDigitResponse& event, std::function<void()> next) {
  if (event.has_accepted()) model_ = event.accepted().model_version();
  if (event.has_image()) {
    png_ = std::move(*event.mutable_image()->mutable_png());
    seed_ = absl::StrCat(event.image().seed());
  }
  next();
}

void DigitPictureCall::OnEnd(const grpc::Status& status) {
  if (!status.ok()) return responder().Send(Named(ErrorAnswer(status)));
  responder().Send(Named({.content_type = "image/png",
                          .body = std::move(png_),
                          .headers = {{"Cache-Control", "no-cache"},
                                      {"X-Content-Type-Options", "nosniff"},
                                      {"X-Denoised-Seed", seed_},
                                      {"X-Denoised-Model", model_}}}));
}

}  // namespace denoised
