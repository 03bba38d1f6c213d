// File: crc32c.h
//
// The checksum of TFRecord files: CRC-32 with Castagnoli's polynomial (RFC 3720, appendix B.4). Pure and thread-safe.
#ifndef DENOISED_TRAINER_RECORDS_CRC32C_H_
#define DENOISED_TRAINER_RECORDS_CRC32C_H_

#include <cstdint>
#include <string_view>

namespace denoised {

uint32_t Crc32c(std::string_view bytes);

}  // namespace denoised

#endif  // DENOISED_TRAINER_RECORDS_CRC32C_H_
