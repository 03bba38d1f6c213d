#include "server/http/http_server.h"

#include <sys/resource.h>

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ip/v6_only.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/thread_pool.hpp>
#include <exception>
#include <future>
#include <list>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "server/http/descriptor_reserve.h"
#include "server/http/http_session.h"

namespace denoised {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

constexpr size_t kReservedDescriptors = 4;
constexpr int kShareOfDescriptors = 8;
constexpr int kFewestConnections = 4;
constexpr int kAcceptsAtATime = 32;  // before the open connections have their turn
constexpr std::chrono::milliseconds kAcceptPause{5};
// A client's request comes a little later than it does itself, by TLS after it has spoken twice. Nobody is closed for
// another one sooner. Longer ones let who holds connections hold up those who come.
constexpr std::chrono::milliseconds kLeastStay{20}, kLeastStayOfTls{50};
constexpr size_t kShareOfNewcomers = 8;

// An IPv6 address as it is written before a port.
std::string Bracketed(const std::string& host) {
  return absl::StrContains(host, ':') ? absl::StrCat("[", host, "]") : host;
}

bool LacksDescriptors(const error_code& error) {
  return error == asio::error::no_descriptors || error == boost::system::errc::too_many_files_open_in_system ||
         error == asio::error::no_buffer_space || error == asio::error::no_memory;
}

error_code Listen(tcp::acceptor& acceptor, const tcp::endpoint& endpoint) {
  error_code error;
  acceptor.open(endpoint.protocol(), error);
  if (error) return error;
  acceptor.set_option(tcp::acceptor::reuse_address(true), error);
  if (endpoint.protocol() == tcp::v6()) acceptor.set_option(asio::ip::v6_only(false), error);
  // NOTE: connections inherit it. Without, a piece could wait for the client's system to have acknowledged the last
  // one.
  acceptor.set_option(tcp::no_delay(true), error);
  acceptor.bind(endpoint, error);
  if (!error) acceptor.listen(asio::socket_base::max_listen_connections, error);
  if (!error) acceptor.non_blocking(true, error);
  if (error) {
    error_code ignored;
    acceptor.close(ignored);
  }
  return error;
}

}  // namespace

// All but the constructor's thread and ~HttpServer's runs on the I/O thread.
struct HttpServer::Impl {
  Impl(const HttpServerOptions& server_options, HttpRoutes server_routes)
      : options(server_options),
        routes(std::move(server_routes)),
        max_connections(static_cast<size_t>(ConnectionLimit(options))),
        most_answering(max_connections - std::max<size_t>(max_connections / kShareOfNewcomers, 1)),
        reserve(kReservedDescriptors) {}

  // One address of the port.
  struct Door {
    explicit Door(asio::io_context& io) : acceptor(io), retry(io) {}
    tcp::acceptor acceptor;
    asio::steady_timer retry;
  };

  // Of a wildcard IPv6's, which takes IPv4 as well, before IPv4's.
  std::vector<tcp::endpoint> Endpoints(error_code& error) {
    const auto number = static_cast<uint16_t>(options.port);
    if (wildcard()) {
      return {{tcp::v6(), number}, {tcp::v4(), number}};
    }
    const auto found = tcp::resolver(io).resolve(options.host, absl::StrCat(options.port),
                                                 tcp::resolver::passive | tcp::resolver::numeric_service, error);
    return {found.begin(), found.end()};
  }

  bool wildcard() const { return options.host.empty() || options.host == "0.0.0.0" || options.host == "::"; }

  // All addresses of a name: a client may try any of them, and must not meet another program there.
  absl::Status Bind() {
    error_code unresolved;
    for (tcp::endpoint endpoint : Endpoints(unresolved)) {
      if (port != 0) endpoint.port(static_cast<uint16_t>(port));  // one that was free is the same for all
      doors.emplace_back(io);
      const error_code error = Listen(doors.back().acceptor, endpoint);
      if (!error) port = doors.back().acceptor.local_endpoint().port();
      if (error) doors.pop_back();
      if (error == asio::error::address_in_use) doors.clear();
      if (error == asio::error::address_in_use || (!error && wildcard())) break;
    }
    if (!doors.empty()) return absl::OkStatus();
    return absl::UnavailableError(absl::StrCat("cannot listen on ", Bracketed(options.host), ":", options.port,
                                               unresolved ? absl::StrCat(": ", unresolved.message())
                                                          : ": the port is taken, or the address is not this machine's",
                                               options.flag.empty() ? "" : "; choose another with ", options.flag));
  }

  void Run() {
    for (Door& door : doors) AwaitClients(door);
    while (!io.stopped()) {
      try {
        io.run();
      } catch (const std::exception&) {
        // Out of memory, which ended that session. The others go on.
      }
    }
  }

  void AwaitClients(Door& door) {
    door.acceptor.async_wait(tcp::acceptor::wait_read, [this, &door](const error_code& error) {
      if (closing) return;
      if (error || !AcceptSome(door.acceptor)) return AwaitClientsLater(door);
      AwaitClients(door);
    });
  }

  void AwaitClientsLater(Door& door) {
    door.retry.expires_after(kAcceptPause);
    door.retry.async_wait([this, &door](const error_code&) {
      if (!closing) AwaitClients(door);
    });
  }

  // False when none can be taken for now.
  bool AcceptSome(tcp::acceptor& acceptor) {
    for (int i = 0; i < kAcceptsAtATime; ++i) {
      // Nobody to close for one more: each of them is about to be answered, or came a moment ago.
      if (is_full() && LongestWaiting() == nullptr) return false;
      error_code error;
      tcp::socket socket(io);
      acceptor.accept(socket, error);
      if (error == asio::error::would_block) return true;
      if (LacksDescriptors(error) && !FindDescriptor()) return false;
      if (error) continue;
      if (is_full()) CloseLongestWaiting();
      if (!Open(std::move(socket))) return false;
    }
    return true;
  }

  bool FindDescriptor() { return reserve.Release() || CloseLongestWaiting(); }

  // False when memory is short; NOTE: an exception here would end the waiting for clients for good.
  bool Open(tcp::socket socket) {
    try {
      sessions.push_back(std::make_shared<HttpSession>(
          std::move(socket), HttpSessionContext{options, routes, worker},
          HttpSessionEvents{.on_step = [this](HttpSession* session) { MoveToEnd(session); },
                            .on_closed = [this](HttpSession* closed) { Forget(closed); },
                            .has_room = [this] { return HasRoom(); }}));
      sessions.back()->Start();
      return true;
    } catch (const std::exception&) {
      return false;
    }
  }

  // A handshake that has gone on is not the one that has waited longest.
  void MoveToEnd(HttpSession* session) {
    const auto found =
        std::find_if(sessions.begin(), sessions.end(), [session](const auto& each) { return each.get() == session; });
    if (found != sessions.end()) sessions.splice(sessions.end(), sessions, found);
  }

  void Forget(HttpSession* closed) {
    std::erase_if(sessions, [closed](const auto& session) { return session.get() == closed; });
    reserve.Refill();
    for (Door& door : doors) door.retry.cancel();  // there is room again
  }

  // Whether one more may wait for a handler.
  bool HasRoom() const {
    const auto waits_for_handler = [](const auto& session) { return !session->waits_for_client(); };
    const auto waiting = std::count_if(sessions.begin(), sessions.end(), waits_for_handler);
    return static_cast<size_t>(waiting) < most_answering;
  }

  bool owes_answers() const {
    return std::any_of(sessions.begin(), sessions.end(), [](const auto& session) { return session->owes_an_answer(); });
  }

  bool is_full() const { return sessions.size() >= max_connections; }

  HttpSession* LongestWaiting() const {
    const auto longest =
        std::find_if(sessions.begin(), sessions.end(), [](const auto& session) { return session->waits_for_client(); });
    if (longest == sessions.end()) return nullptr;
    const auto least_stay = options.tls.has_value() ? kLeastStayOfTls : kLeastStay;
    return HttpSession::Clock::now() - (*longest)->since() < least_stay ? nullptr : longest->get();
  }

  bool CloseLongestWaiting() {
    HttpSession* longest = LongestWaiting();
    if (longest != nullptr) longest->Close();
    return longest != nullptr;
  }

  const HttpServerOptions options;
  const HttpRoutes routes;
  const size_t max_connections;
  const size_t most_answering;  // connections that wait for a handler
  DescriptorReserve reserve;
  std::list<std::shared_ptr<HttpSession>> sessions;  // in the order in which they came, or came a step further
  asio::io_context io{1};
  std::list<Door> doors;
  asio::thread_pool worker{1};
  std::thread thread;
  bool closing = false;
  int port = 0;  // constant after Bind
};

HttpServer::HttpServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::Start(const HttpServerOptions& options, HttpRoutes routes) {
  auto impl = std::make_unique<Impl>(options, std::move(routes));
  if (absl::Status bound = impl->Bind(); !bound.ok()) return bound;
  impl->thread = std::thread([&server = *impl] { server.Run(); });
  return std::unique_ptr<HttpServer>(new HttpServer(std::move(impl)));
}

HttpServer::~HttpServer() {
  impl_->io.stop();
  impl_->thread.join();
  impl_->worker.stop();
  impl_->worker.join();
  while (!impl_->sessions.empty()) impl_->sessions.front()->Close();
}

// What is allowed, and at most a share of the descriptors: those are needed elsewhere too.
int HttpServer::ConnectionLimit(const HttpServerOptions& options) {
  int allowed = options.max_connections;
  rlimit descriptors{};
  if (getrlimit(RLIMIT_NOFILE, &descriptors) == 0 && descriptors.rlim_cur != RLIM_INFINITY) {
    const auto share = static_cast<std::int64_t>(descriptors.rlim_cur / kShareOfDescriptors);
    allowed = static_cast<int>(std::min<std::int64_t>(allowed, share));
  }
  return std::max(allowed, kFewestConnections);
}

int HttpServer::port() const { return impl_->port; }

void HttpServer::CloseConnections() {
  std::promise<void> closed;
  asio::post(impl_->io, [this, &closed] {
    error_code ignored;
    for (Impl::Door& door : impl_->doors) door.acceptor.close(ignored);
    impl_->closing = true;
    while (!impl_->sessions.empty()) impl_->sessions.front()->Close();
    closed.set_value();
  });
  closed.get_future().wait();
}

bool HttpServer::AwaitAnswers(std::chrono::milliseconds timeout) {
  const auto end = std::chrono::steady_clock::now() + timeout;
  const auto owes = [this] {
    std::promise<bool> answer;
    asio::post(impl_->io, [this, &answer] { answer.set_value(impl_->owes_answers()); });
    return answer.get_future().get();
  };
  while (owes()) {
    if (std::chrono::steady_clock::now() >= end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return true;
}

}  // namespace denoised
