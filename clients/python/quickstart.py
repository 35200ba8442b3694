"""Publishes a notification, and shows what an error of Postrider's says.

quickstart.py [ADDRESS]: of a server without TLS, by default 127.0.0.1:7411. `build` installs and
generates what is imported here.
"""

import sys
import uuid

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from postrider.v1 import notification_service_pb2, notification_service_pb2_grpc


def print_error(error: grpc.RpcError) -> None:
    print(f"{error.code().name}: {error.details()}")
    # None when the error is not the server's, as when none was reached.
    status = rpc_status.from_call(error)
    for detail in status.details if status else ():
        bad_request = error_details_pb2.BadRequest()
        info = error_details_pb2.ErrorInfo()
        retry = error_details_pb2.RetryInfo()
        if detail.Unpack(bad_request):
            for violation in bad_request.field_violations:
                print(f"  field {violation.field}: {violation.description}")
        elif detail.Unpack(info):
            print(f"  reason {info.reason} of {info.domain} {dict(info.metadata)}")
        elif detail.Unpack(retry):
            print(f"  try again after {retry.retry_delay.ToTimedelta()}")


def main() -> None:
    address = sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:7411"
    with grpc.insecure_channel(address) as channel:
        stub = notification_service_pb2_grpc.NotificationServiceStub(channel)
        # The same key again, after an answer that was lost, publishes nothing twice.
        request = notification_service_pb2.PublishNotificationRequest(
            idempotency_key=str(uuid.uuid4()),
            notification=notification_service_pb2.Notification(
                notification_type="BUILD_FINISHED", json_payload='{"build": 1093, "passed": true}'
            ),
        )
        try:
            published = stub.PublishNotification(request, timeout=10)
        except grpc.RpcError as error:
            print_error(error)
            sys.exit(1)
        print(f"published {published.notification_id}")

        request.notification.notification_type = "no blanks, please"
        try:
            stub.PublishNotification(request, timeout=10)
        except grpc.RpcError as error:
            print_error(error)
        try:
            stub.GetNotification(
                notification_service_pb2.GetNotificationRequest(notification_id="ntf_unknown"),
                timeout=10,
            )
        except grpc.RpcError as error:
            print_error(error)


main()
