#pragma once

#include <string>
#include <string_view>

#include "absl/time/time.h"
#include "google/protobuf/duration.pb.h"
#include "google/protobuf/message.h"
#include "google/protobuf/timestamp.pb.h"
#include "google/rpc/status.pb.h"
#include "postrider/v1/webhook_service.pb.h"
#include "src/cli/client_exit.h"

namespace postrider {

// How results are shown. Texts end with a newline unless they are called a phrase.

// The message as one line of JSON, fields named as in the proto, unset ones included.
std::string MessageJson(const google::protobuf::Message& message);

// The JSON text with a line for each member, indented; its numbers and keys are left as they are.
// Text that is not a JSON object comes back unchanged. Without a newline at its end.
std::string PrettyJson(std::string_view text);

// The text as a JSON string with its quotes. Bytes that are not UTF-8 come back as U+FFFD.
std::string JsonString(std::string_view text);

// The text with control characters other than newline and tab escaped, and bytes that are not
// UTF-8: what a receiver answers must not steer the terminal.
std::string Printable(std::string_view text);

// Each line of the text with `indent` before it.
std::string Indent(std::string_view text, std::string_view indent);

// `valid`, `invalid` or `unvalidated`.
std::string ValidationPhrase(v1::ValidationState state);

// `probing` for the value HEALTH_STATE_PROBING; what is said `otherwise` for one without a name,
// which a newer server may know.
std::string EnumPhrase(const std::string& name, std::string_view prefix,
                       std::string_view otherwise);

// Phrases: `2026-01-25T14:04:10Z`, `12.3ms`; `-` when unset.
std::string TimePhrase(bool set, const google::protobuf::Timestamp& time);
std::string DurationPhrase(const google::protobuf::Duration& duration);

void SetDuration(absl::Duration from, google::protobuf::Duration* to);
void SetTime(absl::Time from, google::protobuf::Timestamp* to);

// A webhook as it is stored.
std::string DescribeWebhook(const v1::Webhook& webhook);

// The request that was sent, the answer, and the verdict.
std::string DescribeValidation(const v1::ValidationResult& result);

// The status as sentences: what went wrong, field by field, and when to try again.
std::string DescribeError(const google::rpc::Status& status);

// The ValidationResult in the status's details. False when there is none.
bool ValidationOf(const google::rpc::Status& status, v1::ValidationResult* result);

// What the process ends with after this status.
ClientExit ExitOf(const google::rpc::Status& status);

// Writes at once, and ends the process with 74 when that fails: results must not be lost silently.
void Print(std::string_view text);
// To standard error, with the program's name before it.
void Complain(std::string_view sentence);

}  // namespace postrider
