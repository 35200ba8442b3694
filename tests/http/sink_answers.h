#pragma once

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "tests/support/http_sink.h"

namespace postrider {

// Answers all in the same way.
inline HttpSink::Script Always(SinkAnswer answer) {
  return [answer = std::move(answer)](const SinkRequest&) { return answer; };
}

inline SinkAnswer Status(int status) {
  SinkAnswer answer;
  answer.status = status;
  return answer;
}

inline SinkAnswer By(SinkAnswer::Way way, std::string body = "") {
  SinkAnswer answer;
  answer.way = way;
  answer.body = std::move(body);
  return answer;
}

inline std::string UrlOf(const std::string& host, const HttpSink& sink) {
  return absl::StrCat("http://", host, ":", sink.port(), "/hook");
}

}  // namespace postrider
