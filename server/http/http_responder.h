// File: http_responder.h
//
// An answer that is given later than its request came, whole or in pieces.
//
//   routes.AddLater("POST", "/draw", [](const HttpRequest& request, std::shared_ptr<HttpResponder> responder) {
//     const auto call = StartCall(request, std::move(responder));
//     return [call] { call->Cancel(); };
//   });
//
// and from any thread, whenever there is something: responder->Begin({...}), Write(piece, next), End().
//
// Pieces are kept until the client's system has taken them, so whoever makes them waits for that before the next.
//
// Thread-safe. What is said after the client has gone, or after the end, is ignored. To be let go of before the server
// ends.
#ifndef DENOISED_SERVER_HTTP_HTTP_RESPONDER_H_
#define DENOISED_SERVER_HTTP_HTTP_RESPONDER_H_

#include <functional>
#include <memory>
#include <string>

#include "server/http/http_message.h"

namespace denoised {

class HttpResponder {
 public:
  virtual ~HttpResponder() = default;

  // All of it.
  virtual void Send(HttpResponse response) = 0;

  // Or: its head, whose body is ignored; the body in pieces, none of them empty; and the end. `taken` is called on the
  // server's I/O thread when the piece has been, and not at all if the client goes.
  virtual void Begin(HttpResponse head) = 0;
  virtual void Write(std::string piece, std::function<void()> taken) = 0;
  virtual void End() = 0;
};

// Called on the I/O thread, where it may not take long. What it returns is called there once, if the client goes before
// the answer's end.
using HttpLaterHandler =
    std::function<std::function<void()>(const HttpRequest& request, std::shared_ptr<HttpResponder> answer)>;

}  // namespace denoised

#endif  // DENOISED_SERVER_HTTP_HTTP_RESPONDER_H_
