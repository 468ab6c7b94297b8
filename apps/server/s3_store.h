// Pictures in a bucket of an S3-compatible store.
#pragma once

#include "server/picture_store.h"

namespace intaglio::server {

// `place`: "BUCKET[/PREFIX]". Address and keys as others have them: AWS_ENDPOINT_URL_S3 or
// AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_REGION or
// AWS_DEFAULT_REGION ("us-east-1" without). kInvalidArgument: there are none, or `place` is no such
// name.
Expected<std::unique_ptr<PictureStore>> open_s3_store(std::string_view flag, std::string_view place,
                                                      const std::filesystem::path& cache);

}  // namespace intaglio::server
