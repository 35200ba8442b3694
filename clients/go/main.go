// Publishes a notification, and shows what an error of Postrider's says.
//
//	quickstart [ADDRESS]
//
// The address is of a server without TLS, by default 127.0.0.1:7411. `build` generates what is
// imported from gen.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	postriderv1 "example.com/quickstart/gen/postrider/v1"
)

func printError(err error) {
	answer := status.Convert(err)
	fmt.Printf("%v: %s\n", answer.Code(), answer.Message())
	for _, detail := range answer.Details() {
		switch detail := detail.(type) {
		case *errdetails.BadRequest:
			for _, violation := range detail.GetFieldViolations() {
				fmt.Printf("  field %s: %s\n", violation.GetField(), violation.GetDescription())
			}
		case *errdetails.ErrorInfo:
			fmt.Printf("  reason %s of %s %v\n",
				detail.GetReason(), detail.GetDomain(), detail.GetMetadata())
		case *errdetails.RetryInfo:
			fmt.Printf("  try again after %v\n", detail.GetRetryDelay().AsDuration())
		}
	}
}

func main() {
	address := "127.0.0.1:7411"
	if len(os.Args) > 1 {
		address = os.Args[1]
	}
	connection, err := grpc.Dial(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		log.Fatal(err)
	}
	defer connection.Close()
	client := postriderv1.NewNotificationServiceClient(connection)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()

	payload := `{"build": 1093, "passed": true}`
	// The same key again, after an answer that was lost, publishes nothing twice.
	request := &postriderv1.PublishNotificationRequest{
		IdempotencyKey: fmt.Sprintf("quickstart-%d", time.Now().UnixNano()),
		Notification: &postriderv1.Notification{
			NotificationType: "BUILD_FINISHED",
			Payload:          &postriderv1.Notification_JsonPayload{JsonPayload: payload},
		},
	}
	published, err := client.PublishNotification(ctx, request)
	if err != nil {
		printError(err)
		os.Exit(1)
	}
	fmt.Printf("published %s\n", published.GetNotificationId())

	request.Notification.NotificationType = "no blanks, please"
	if _, err := client.PublishNotification(ctx, request); err != nil {
		printError(err)
	}
	unknown := &postriderv1.GetNotificationRequest{NotificationId: "ntf_unknown"}
	if _, err := client.GetNotification(ctx, unknown); err != nil {
		printError(err)
	}
}
