#include "src/server/rpc/reflection_service.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/descriptor.pb.h>

#include <set>
#include <utility>

namespace postrider {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::DescriptorPool;
using google::protobuf::FieldDescriptor;
using google::protobuf::FileDescriptor;
using grpc::reflection::v1::ServerReflectionRequest;
using grpc::reflection::v1::ServerReflectionResponse;

const DescriptorPool& Pool() { return *DescriptorPool::generated_pool(); }

void AddFile(const FileDescriptor& file, std::set<const FileDescriptor*>* seen,
             grpc::reflection::v1::FileDescriptorResponse* response) {
  if (!seen->insert(&file).second) return;
  google::protobuf::FileDescriptorProto proto;
  file.CopyTo(&proto);
  response->add_file_descriptor_proto(proto.SerializeAsString());
  for (int i = 0; i < file.dependency_count(); ++i) AddFile(*file.dependency(i), seen, response);
}

// False when there is no such file.
bool AnswerFile(const FileDescriptor* file, ServerReflectionResponse* response) {
  if (file == nullptr) return false;
  std::set<const FileDescriptor*> seen;
  AddFile(*file, &seen, response->mutable_file_descriptor_response());
  return true;
}

const FileDescriptor* FileOfExtension(const grpc::reflection::v1::ExtensionRequest& request) {
  const Descriptor* const type = Pool().FindMessageTypeByName(request.containing_type());
  if (type == nullptr) return nullptr;
  const FieldDescriptor* const field =
      Pool().FindExtensionByNumber(type, request.extension_number());
  return field == nullptr ? nullptr : field->file();
}

bool AnswerExtensions(const std::string& name, ServerReflectionResponse* response) {
  const Descriptor* const type = Pool().FindMessageTypeByName(name);
  if (type == nullptr) return false;
  std::vector<const FieldDescriptor*> fields;
  Pool().FindAllExtensions(type, &fields);
  auto* const answer = response->mutable_all_extension_numbers_response();
  answer->set_base_type_name(name);
  for (const FieldDescriptor* field : fields) answer->add_extension_number(field->number());
  return true;
}

void AnswerError(grpc::StatusCode code, const char* message, ServerReflectionResponse* response) {
  auto* const error = response->mutable_error_response();
  error->set_error_code(code);
  error->set_error_message(message);
}

ServerReflectionResponse Answer(const ServerReflectionRequest& request,
                                const std::vector<std::string>& service_names) {
  ServerReflectionResponse response;
  response.set_valid_host(request.host());
  *response.mutable_original_request() = request;
  bool found = true;
  switch (request.message_request_case()) {
    case ServerReflectionRequest::kFileByFilename:
      found = AnswerFile(Pool().FindFileByName(request.file_by_filename()), &response);
      break;
    case ServerReflectionRequest::kFileContainingSymbol:
      found =
          AnswerFile(Pool().FindFileContainingSymbol(request.file_containing_symbol()), &response);
      break;
    case ServerReflectionRequest::kFileContainingExtension:
      found = AnswerFile(FileOfExtension(request.file_containing_extension()), &response);
      break;
    case ServerReflectionRequest::kAllExtensionNumbersOfType:
      found = AnswerExtensions(request.all_extension_numbers_of_type(), &response);
      break;
    case ServerReflectionRequest::kListServices:
      for (const std::string& name : service_names) {
        response.mutable_list_services_response()->add_service()->set_name(name);
      }
      break;
    case ServerReflectionRequest::MESSAGE_REQUEST_NOT_SET:
      AnswerError(grpc::StatusCode::INVALID_ARGUMENT, "the request asks for nothing", &response);
      break;
  }
  if (!found) AnswerError(grpc::StatusCode::NOT_FOUND, "there is none of that name", &response);
  return response;
}

}  // namespace

ReflectionService::ReflectionService(std::vector<std::string> service_names)
    : service_names_(std::move(service_names)) {}

grpc::Status ReflectionService::ServerReflectionInfo(
    grpc::ServerContext* /*context*/,
    grpc::ServerReaderWriter<ServerReflectionResponse, ServerReflectionRequest>* stream) {
  ServerReflectionRequest request;
  while (stream->Read(&request)) {
    if (!stream->Write(Answer(request, service_names_))) break;
  }
  return grpc::Status::OK;
}

}  // namespace postrider
