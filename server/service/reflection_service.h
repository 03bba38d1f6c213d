// File: reflection_service.h
//
// grpc.reflection, in version 1 and in version 1alpha, which older tools ask for: what the server offers, from the
// descriptors that are linked into it.
//
//   ReflectionService reflection({"denoised.v1.DigitService", "grpc.health.v1.Health"});   // and its own two
//   for (grpc::Service* service : reflection.services()) builder.RegisterService(service);
//
// Not gRPC's own: that of 1.51 knows version 1alpha only and holds a thread for each open stream, so that a stranger
// who opens many takes memory without end. Streams are limited here, and end when the server drains.
//
// Thread-safe. Destroy the grpc::Server first.
#ifndef DENOISED_SERVER_SERVICE_REFLECTION_SERVICE_H_
#define DENOISED_SERVER_SERVICE_REFLECTION_SERVICE_H_

#include <grpcpp/impl/service_type.h>

#include <memory>
#include <string>
#include <vector>

namespace denoised {

class ReflectionService {
 public:
  explicit ReflectionService(std::vector<std::string> services);
  ~ReflectionService();
  ReflectionService(const ReflectionService&) = delete;
  ReflectionService& operator=(const ReflectionService&) = delete;

  // One for each version.
  std::vector<grpc::Service*> services() const;

  // Ends the open streams, and later ones at once.
  void Drain();

 private:
  struct State;
  const std::unique_ptr<State> state_;
};

}  // namespace denoised

#endif  // DENOISED_SERVER_SERVICE_REFLECTION_SERVICE_H_
