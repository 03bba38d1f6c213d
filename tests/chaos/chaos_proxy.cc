#include "tests/chaos/chaos_proxy.h"

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>
#include <cmath>
#include <functional>
#include <limits>
#include <random>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_format.h"
#include "absl/synchronization/mutex.h"

namespace denoised {
namespace {

namespace asio = boost::asio;
using tcp = asio::ip::tcp;
using boost::system::error_code;
using FaultsOf = std::function<ConnectionFaults(uint64_t connection)>;

constexpr uint64_t kEndless = std::numeric_limits<uint64_t>::max();

// Shared by all connections.
class StatsKeeper {
 public:
  ProxyStats Get() const {
    const absl::MutexLock lock(&mu_);
    return stats_;
  }
  void CountConnection(const ConnectionFaults& faults) {
    const auto any = [&faults](auto has) { return std::any_of(faults.ways.begin(), faults.ways.end(), has) ? 1 : 0; };
    const absl::MutexLock lock(&mu_);
    ++stats_.connections;
    stats_.delayed += any([](const WayFaults& way) { return way.delay.count() > 0; });
    stats_.throttled += any([](const WayFaults& way) { return way.bytes_per_second > 0; });
  }
  void CountEnding(Ending ending) {
    const absl::MutexLock lock(&mu_);
    stats_.cuts += ending == Ending::kCut ? 1 : 0;
    stats_.resets += ending == Ending::kReset ? 1 : 0;
    stats_.half_closes += ending == Ending::kHalfClose ? 1 : 0;
  }

 private:
  mutable absl::Mutex mu_;
  ProxyStats stats_ ABSL_GUARDED_BY(mu_);
};

// A client's connection and the one to the server that it is passed on to. Each way reads a piece, holds it, writes it,
// and begins again. Lives as long as something is under way.
class ProxiedConnection : public std::enable_shared_from_this<ProxiedConnection> {
 public:
  ProxiedConnection(tcp::socket client, const ConnectionFaults& faults, StatsKeeper& stats)
      : faults_(faults),
        stats_(stats),
        client_(std::move(client)),
        server_(client_.get_executor()),
        ways_{Stream(client_, server_), Stream(server_, client_)} {
    for (int way = 0; way < kWays; ++way) ways_[way].faults = faults.ways[way];
    if (faults.ending != Ending::kNone) ways_[faults.ending_way].left = faults.ending_after;
  }

  void Start(int server_port) {
    stats_.CountConnection(faults_);
    const tcp::endpoint server(asio::ip::address_v4::loopback(), static_cast<uint16_t>(server_port));
    server_.async_connect(server, [self = shared_from_this()](error_code error) {
      if (error) return self->Reset();
      for (tcp::socket* socket : {&self->client_, &self->server_}) socket->set_option(tcp::no_delay(true), error);
      for (Stream& way : self->ways_) self->Read(way);
    });
  }

 private:
  struct Stream {
    Stream(tcp::socket& source, tcp::socket& sink) : from(source), to(sink), timer(source.get_executor()) {}
    tcp::socket& from;
    tcp::socket& to;
    asio::steady_timer timer;
    WayFaults faults;
    uint64_t left = kEndless;  // bytes until the ending
    bool closed = false;       // what comes is thrown away
    std::array<char, ChaosProxy::kPieceBytes> piece;
  };

  void Read(Stream& way) {
    if (way.left == 0 && !way.closed) End(way);
    way.from.async_read_some(asio::buffer(way.piece), [self = shared_from_this(), &way](error_code error, size_t size) {
      if (error == asio::error::eof) return self->CloseSending(way);
      if (error) return self->Reset();
      if (way.closed) return self->Read(way);
      self->Hold(way, size);
    });
  }

  void Hold(Stream& way, size_t size) {
    std::chrono::nanoseconds time = way.faults.delay;
    if (way.faults.bytes_per_second > 0) {
      time +=
          std::chrono::nanoseconds(static_cast<int64_t>(1e9 * static_cast<double>(size) / way.faults.bytes_per_second));
    }
    if (time.count() == 0) return Write(way, size);
    way.timer.expires_after(time);
    way.timer.async_wait([self = shared_from_this(), &way, size](error_code error) {
      if (!error) self->Write(way, size);
    });
  }

  void Write(Stream& way, size_t size) {
    if (way.closed) return Read(way);
    const size_t passed = std::min<uint64_t>(size, way.left);
    asio::async_write(way.to, asio::buffer(way.piece, passed),
                      [self = shared_from_this(), &way, passed](error_code error, size_t) {
                        if (error && !way.closed) return self->Reset();
                        if (way.left != kEndless) way.left -= passed;
                        self->Read(way);
                      });
  }

  void End(Stream& way) {
    stats_.CountEnding(faults_.ending);
    if (faults_.ending == Ending::kReset) return Reset();
    CloseSending(way);
    if (faults_.ending != Ending::kCut) return;
    for (Stream& each : ways_) CloseSending(each);
  }

  // NOTE: a socket that is closed with bytes unread sends RST, so that both are read to their ends.
  void CloseSending(Stream& way) {
    error_code ignored;
    if (!std::exchange(way.closed, true)) way.to.shutdown(tcp::socket::shutdown_send, ignored);
  }

  void Reset() {
    error_code ignored;
    for (Stream& way : ways_) {
      way.timer.cancel();
      way.from.set_option(asio::socket_base::linger(true, 0), ignored);
      way.from.close(ignored);
    }
  }

  const ConnectionFaults faults_;
  StatsKeeper& stats_;
  tcp::socket client_;
  tcp::socket server_;
  std::array<Stream, kWays> ways_;
};

// After how many bytes a connection ends: anywhere from the first to fifty thousand, each power of ten alike.
uint64_t RandomBytes(std::mt19937_64& random) {
  return static_cast<uint64_t>(std::pow(10.0, std::uniform_real_distribution<double>(0, 4.7)(random))) - 1;
}

WayFaults RandomWayFaults(std::mt19937_64& random) {
  const auto one_in = [&random](int n) { return std::uniform_int_distribution<int>(1, n)(random) == 1; };
  WayFaults faults;
  if (one_in(2)) faults.delay = std::chrono::milliseconds(std::uniform_int_distribution<int>(1, 30)(random));
  if (one_in(4)) faults.bytes_per_second = std::pow(10.0, std::uniform_real_distribution<double>(4.5, 6.5)(random));
  return faults;
}

}  // namespace

ConnectionFaults PlanFaults(uint64_t seed, uint64_t connection) {
  std::seed_seq both{seed, seed >> 32, connection, connection >> 32};
  std::mt19937_64 random(both);
  ConnectionFaults faults;
  for (WayFaults& way : faults.ways) way = RandomWayFaults(random);
  // NOTE: each ends: those that did not would be the only ones left after a while.
  faults.ending = static_cast<Ending>(std::uniform_int_distribution<int>(1, 3)(random));
  faults.ending_way = static_cast<Way>(std::uniform_int_distribution<int>(0, 1)(random));
  faults.ending_after = RandomBytes(random);
  return faults;
}

std::string ProxyStats::ToString() const {
  return absl::StrFormat("%d connections: %d delayed, %d throttled; %d cut, %d reset, %d half-closed", connections,
                         delayed, throttled, cuts, resets, half_closes);
}

class ChaosProxy::Impl {
 public:
  Impl(int server_port, FaultsOf faults)
      : server_port_(server_port),
        faults_(std::move(faults)),
        acceptor_(io_, tcp::endpoint(asio::ip::address_v4::loopback(), 0)),
        port_(acceptor_.local_endpoint().port()) {
    Accept();
    thread_ = std::thread([this] { io_.run(); });
  }
  ~Impl() {
    io_.stop();
    thread_.join();
  }

  int port() const { return port_; }
  ProxyStats stats() const { return stats_.Get(); }

 private:
  void Accept() {
    acceptor_.async_accept([this](error_code error, tcp::socket client) {
      if (!error) {
        std::make_shared<ProxiedConnection>(std::move(client), faults_(next_++), stats_)->Start(server_port_);
      }
      Accept();
    });
  }

  const int server_port_;
  const FaultsOf faults_;
  StatsKeeper stats_;
  asio::io_context io_;
  tcp::acceptor acceptor_;
  const int port_;
  uint64_t next_ = 0;  // of thread_ alone
  std::thread thread_;
};

ChaosProxy::ChaosProxy(int server_port, uint64_t seed)
    : impl_(new Impl(server_port, [seed](uint64_t connection) { return PlanFaults(seed, connection); })) {}

ChaosProxy::ChaosProxy(int server_port, const ConnectionFaults& faults)
    : impl_(new Impl(server_port, [faults](uint64_t) { return faults; })) {}

ChaosProxy::~ChaosProxy() = default;

int ChaosProxy::port() const { return impl_->port(); }
ProxyStats ChaosProxy::stats() const { return impl_->stats(); }

}  // namespace denoised
