#include <vector>

#include "tests/conformance/outbox_conformance.h"

// The lists, and what they show of each row.

namespace postrider {
namespace {

TEST_P(OutboxConformanceTest, ANotificationIsKeptWhole) {
  Put("t1", "a");
  Put("t1", "b");
  const Published published = PublishOne("t1", "TYPE", "{\"x\":1e400}", "key");
  clock_.Advance(absl::Seconds(1));
  for (int round = 0; round < 2; ++round) {
    const auto read = GetNotification("t1", published.id);
    ASSERT_TRUE(read.ok()) << read.status();
    EXPECT_EQ(read->id, published.id);
    EXPECT_EQ(read->tenant, "t1");
    EXPECT_EQ(read->type, "TYPE");
    EXPECT_EQ(read->body, "{\"x\":1e400}");
    EXPECT_EQ(read->idempotency_key, "key");
    EXPECT_EQ(read->create_time, clock_.Now() - absl::Seconds(1));
    EXPECT_EQ(read->delivery_count, 2);
    harness_->Reopen();
  }
  EXPECT_EQ(GetNotification("default", published.id).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(GetNotification("nobody", published.id).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(GetNotification("t1", NotificationId{5}).status().code(), absl::StatusCode::kNotFound);
}

TEST_P(OutboxConformanceTest, NotificationsAreListedTheNewestFirst) {
  Put("t1", "hook");
  const absl::Time start = clock_.Now();
  std::vector<NotificationId> ids;
  for (int i = 0; i < 7; ++i) {
    ids.push_back(PublishOne("default", i % 2 == 0 ? "EVEN" : "ODD", std::to_string(i)).id);
    PublishOne("t1", "EVEN");
    clock_.Advance(absl::Seconds(1));
  }
  for (const int limit : {1, 2, 3, 7, 100}) {
    const auto all = ListNotifications({.tenant = "default", .limit = limit});
    ASSERT_TRUE(all.ok()) << all.status();
    ASSERT_EQ(all->size(), 7u);
    for (int i = 0; i < 7; ++i) {
      EXPECT_EQ((*all)[i].id, ids[6 - i]);
      EXPECT_EQ((*all)[i].body, std::to_string(6 - i));
    }
  }
  const auto odd = ListNotifications({.tenant = "default", .type = "ODD", .limit = 2});
  ASSERT_EQ(odd->size(), 3u);
  EXPECT_EQ((*odd)[0].id, ids[5]);
  // From 2 on, 5 excluded.
  const auto range = ListNotifications({.tenant = "default",
                                        .start = start + absl::Seconds(2),
                                        .end = start + absl::Seconds(5),
                                        .limit = 2});
  ASSERT_EQ(range->size(), 3u);
  EXPECT_EQ((*range)[0].id, ids[4]);
  EXPECT_EQ((*range)[2].id, ids[2]);
  const auto below = ListNotifications({.tenant = "default", .before = ids[2], .limit = 10});
  ASSERT_EQ(below->size(), 2u);
  EXPECT_EQ((*below)[0].id, ids[1]);
  EXPECT_EQ(ListNotifications({.tenant = "nobody"}).status().code(), absl::StatusCode::kNotFound);
  EXPECT_TRUE(ListNotifications({.tenant = "default", .type = "NONE"})->empty());
}

TEST_P(OutboxConformanceTest, DeliveriesAreListedTheNewestFirst) {
  const Webhook a = Put("default", "a");
  const Webhook b = Put("default", "b", [](Webhook& w) { w.notification_types = {"ODD"}; });
  Put("t1", "a");
  const absl::Time start = clock_.Now();
  std::vector<NotificationId> ids;
  for (int i = 0; i < 6; ++i) {
    ids.push_back(PublishOne("default", i % 2 == 0 ? "EVEN" : "ODD").id);
    PublishOne("t1");
    clock_.Advance(absl::Seconds(1));
  }
  const auto first = Owed(a.id).rows.at(0);
  ASSERT_TRUE(Record({{Outcome(first, DeliveryState::kDelivered)}, {}}).ok());
  for (const int limit : {1, 2, 4, 100}) {
    const auto all = ListDeliveries({.tenant = "default", .limit = limit});
    ASSERT_TRUE(all.ok()) << all.status();
    ASSERT_EQ(all->size(), 9u);
    for (size_t i = 1; i < all->size(); ++i) EXPECT_GT((*all)[i - 1].id, (*all)[i].id);
    EXPECT_EQ(all->back().id, first.id);
    EXPECT_EQ(all->back().state, DeliveryState::kDelivered);
    EXPECT_EQ(all->back().webhook_name, "a");
    EXPECT_EQ(all->back().notification_type, "EVEN");
    EXPECT_EQ(all->back().create_time, start);

    EXPECT_EQ(ListDeliveries({.tenant = "default", .webhook_name = "a", .limit = limit})->size(),
              6u);
    const auto of_b = ListDeliveries({.tenant = "default", .webhook_name = "b", .limit = limit});
    ASSERT_EQ(of_b->size(), 3u);
    EXPECT_EQ((*of_b)[0].notification, ids[5]);
    EXPECT_EQ((*of_b)[0].webhook, b.id);
    EXPECT_EQ(ListDeliveries({.tenant = "default", .notification = ids[1], .limit = limit})->size(),
              2u);
    EXPECT_EQ(
        ListDeliveries({.tenant = "default", .state = DeliveryState::kPending, .limit = limit})
            ->size(),
        8u);
    EXPECT_EQ(ListDeliveries({.tenant = "default",
                              .webhook_name = "a",
                              .state = DeliveryState::kDelivered,
                              .limit = limit})
                  ->size(),
              1u);
    EXPECT_EQ(ListDeliveries({.tenant = "default",
                              .start = start + absl::Seconds(1),
                              .end = start + absl::Seconds(3),
                              .limit = limit})
                  ->size(),
              3u);
    EXPECT_EQ(ListDeliveries({.tenant = "default",
                              .webhook_name = "a",
                              .notification = ids[5],
                              .state = DeliveryState::kDead,
                              .limit = limit})
                  ->size(),
              0u);
  }
  EXPECT_EQ(ListDeliveries({.tenant = "nobody"}).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(ListDeliveries({.tenant = "default", .webhook_name = "none"}).status().code(),
            absl::StatusCode::kNotFound);
  EXPECT_EQ(ListDeliveries({.tenant = "t1", .webhook_name = "b"}).status().code(),
            absl::StatusCode::kNotFound);
  EXPECT_EQ(ListDeliveries({.tenant = "t1", .notification = ids[0]}).status().code(),
            absl::StatusCode::kNotFound);
  EXPECT_EQ(
      ListDeliveries({.tenant = "default", .notification = NotificationId{1}}).status().code(),
      absl::StatusCode::kNotFound);
}

TEST_P(OutboxConformanceTest, ADeliveryIsTheTenantsOwn) {
  const OwedDelivery owed = OweOne();
  Put("t1", "hook");
  EXPECT_EQ(GetDelivery("t1", owed.id).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(GetDelivery("nobody", owed.id).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(GetDelivery("default", DeliveryId{3}).status().code(), absl::StatusCode::kNotFound);
  const auto read = GetDelivery("default", owed.id);
  ASSERT_TRUE(read.ok());
  EXPECT_EQ(read->delivery.state, DeliveryState::kPending);
  EXPECT_TRUE(read->attempts.empty());
}

}  // namespace
}  // namespace postrider
