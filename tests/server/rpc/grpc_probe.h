#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>

#include "google/rpc/status.pb.h"

namespace postrider {

// What a gRPC client sees of a server, for services whose generated code is not installed. Every
// call has a deadline that only a hanging server meets.

// A context with that deadline.
std::unique_ptr<grpc::ClientContext> NewClientContext();

// Sends one message, as these bytes, to a method (/package.Service/Method) and takes the one that
// comes back, if any does.
grpc::Status Exchange(const std::shared_ptr<grpc::Channel>& channel, const std::string& method,
                      const std::string& request, std::string* response);

// What the health service says of `service` (empty: of the whole): SERVING, NOT_SERVING, or the
// error of the call.
std::string HealthOf(const std::shared_ptr<grpc::Channel>& channel, const std::string& service);

// The answer to the reflection's list_services, undecoded: the names are in it as they are.
std::string ReflectedServices(const std::shared_ptr<grpc::Channel>& channel);

// The details that the status carries.
google::rpc::Status DetailsOf(const grpc::Status& status);
// The reason of its ErrorInfo; empty when there is none.
std::string ReasonOf(const grpc::Status& status);
// It says when to try again.
bool HasRetryInfo(const grpc::Status& status);

}  // namespace postrider
