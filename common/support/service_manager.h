// File: service_manager.h
//
// Tells the service manager that started this process how it is: systemd's notify protocol, sd_notify(3).
//
//   NotifyServiceManager("READY=1");
//   NotifyServiceManager("STOPPING=1");
//
// Thread-safe.
#ifndef DENOISED_COMMON_SUPPORT_SERVICE_MANAGER_H_
#define DENOISED_COMMON_SUPPORT_SERVICE_MANAGER_H_

#include <string>

namespace denoised {

// One datagram to the socket that $NOTIFY_SOCKET names. False if there is none, which is what a process that was
// started otherwise has, or if it does not take the message; never waits.
bool NotifyServiceManager(const std::string& state);

}  // namespace denoised

#endif  // DENOISED_COMMON_SUPPORT_SERVICE_MANAGER_H_
