import com.google.protobuf.Any;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.rpc.BadRequest;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RetryInfo;
import com.postrider.v1.GetNotificationRequest;
import com.postrider.v1.Notification;
import com.postrider.v1.NotificationServiceGrpc;
import com.postrider.v1.PublishNotificationRequest;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.StatusProto;
import java.util.UUID;
import java.util.concurrent.TimeUnit;

/**
 * Publishes a notification, and shows what an error of Postrider's says.
 *
 * <p>{@code mvn -q compile exec:java [-Dexec.args=ADDRESS]}: of a server without TLS, by default
 * 127.0.0.1:7411.
 */
public class Quickstart {
  static void printError(StatusRuntimeException error) throws InvalidProtocolBufferException {
    System.out.printf("%s: %s%n", error.getStatus().getCode(), error.getStatus().getDescription());
    com.google.rpc.Status status = StatusProto.fromThrowable(error);
    for (Any detail : status.getDetailsList()) {
      if (detail.is(BadRequest.class)) {
        for (BadRequest.FieldViolation violation :
            detail.unpack(BadRequest.class).getFieldViolationsList()) {
          System.out.printf("  field %s: %s%n", violation.getField(), violation.getDescription());
        }
      } else if (detail.is(ErrorInfo.class)) {
        ErrorInfo info = detail.unpack(ErrorInfo.class);
        System.out.printf(
            "  reason %s of %s %s%n", info.getReason(), info.getDomain(), info.getMetadataMap());
      } else if (detail.is(RetryInfo.class)) {
        System.out.printf(
            "  try again after %d s%n",
            detail.unpack(RetryInfo.class).getRetryDelay().getSeconds());
      }
    }
  }

  public static void main(String[] args) throws Exception {
    String address = args.length > 0 ? args[0] : "127.0.0.1:7411";
    ManagedChannel channel =
        Grpc.newChannelBuilder(address, InsecureChannelCredentials.create()).build();
    try {
      NotificationServiceGrpc.NotificationServiceBlockingStub stub =
          NotificationServiceGrpc.newBlockingStub(channel).withDeadlineAfter(30, TimeUnit.SECONDS);
      // The same key again, after an answer that was lost, publishes nothing twice.
      PublishNotificationRequest.Builder request =
          PublishNotificationRequest.newBuilder()
              .setIdempotencyKey(UUID.randomUUID().toString())
              .setNotification(
                  Notification.newBuilder()
                      .setNotificationType("BUILD_FINISHED")
                      .setJsonPayload("{\"build\": 1093, \"passed\": true}"));
      System.out.printf(
          "published %s%n", stub.publishNotification(request.build()).getNotificationId());

      request.getNotificationBuilder().setNotificationType("no blanks, please");
      try {
        stub.publishNotification(request.build());
      } catch (StatusRuntimeException error) {
        printError(error);
      }
      try {
        stub.getNotification(
            GetNotificationRequest.newBuilder().setNotificationId("ntf_unknown").build());
      } catch (StatusRuntimeException error) {
        printError(error);
      }
    } finally {
      channel.shutdownNow().awaitTermination(5, TimeUnit.SECONDS);
    }
  }
}
