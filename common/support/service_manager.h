// File: service_manager.h
//
// Tells the service manager that started this process how it is: systemd's notify protocol, sd_notify(3).
//
//   NotifyServiceManager("READY=1");
//   NotifyServiceManager("STOPPING=1");
//   if (WatchdogTimeout().has_value()) ... NotifyServiceManager("WATCHDOG=1") now and then ...
//
// Thread-safe.
#ifndef DENOISED_COMMON_SUPPORT_SERVICE_MANAGER_H_
#define DENOISED_COMMON_SUPPORT_SERVICE_MANAGER_H_

#include <chrono>
#include <optional>
#include <string>

namespace denoised {

// One datagram to the socket that $NOTIFY_SOCKET names. False if there is none, which is what a process that was
// started otherwise has, or if it does not take the message; never waits.
bool NotifyServiceManager(const std::string& state);

// How long the service manager waits for another "WATCHDOG=1" before it ends this process, as $WATCHDOG_USEC says:
// sd_watchdog_enabled(3). None if it does not wait for any, or for another process.
std::optional<std::chrono::microseconds> WatchdogTimeout();

}  // namespace denoised

#endif  // DENOISED_COMMON_SUPPORT_SERVICE_MANAGER_H_
