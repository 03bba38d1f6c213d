// File: captured_log.h
//
// What this process logs while the object lives, as the server would write it.
//
//   const CapturedLog log(LogFormat::kJson);
//   spdlog::info("a");
//   log.text()   // {"time":"...","level":"info","message":"a"}
//
// Thread-safe.
#ifndef DENOISED_TESTS_TESTING_CAPTURED_LOG_H_
#define DENOISED_TESTS_TESTING_CAPTURED_LOG_H_

#include <spdlog/sinks/base_sink.h>
#include <spdlog/spdlog.h>

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "server/telemetry/log_line.h"

namespace denoised {

class CapturedLog {
 public:
  explicit CapturedLog(LogFormat format = LogFormat::kText) : before_(spdlog::default_logger()) {
    const auto logger = std::make_shared<spdlog::logger>("test", sink_);
    logger->set_formatter(MakeLogFormatter(format));
    logger->set_level(spdlog::level::debug);
    Kept().push_back(logger);
    spdlog::set_default_logger(logger);
  }
  ~CapturedLog() { spdlog::set_default_logger(before_); }
  CapturedLog(const CapturedLog&) = delete;
  CapturedLog& operator=(const CapturedLog&) = delete;

  std::string text() const { return sink_->text(); }

 private:
  // For ever: a server that outlives the log may be about to write a line to it, which spdlog does not wait for.
  static std::vector<std::shared_ptr<spdlog::logger>>& Kept() {
    static auto& kept = *new std::vector<std::shared_ptr<spdlog::logger>>;
    return kept;
  }

  class Sink : public spdlog::sinks::base_sink<std::mutex> {
   public:
    std::string text() {
      const std::lock_guard<std::mutex> lock(mutex_);
      return text_;
    }

   private:
    void sink_it_(const spdlog::details::log_msg& message) override {
      spdlog::memory_buf_t line;
      formatter_->format(message, line);
      text_.append(line.data(), line.size());
    }
    void flush_() override {}

    std::string text_;
  };

  const std::shared_ptr<spdlog::logger> before_;
  const std::shared_ptr<Sink> sink_ = std::make_shared<Sink>();
};

}  // namespace denoised

#endif  // DENOISED_TESTS_TESTING_CAPTURED_LOG_H_
