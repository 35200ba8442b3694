#include "src/http/answer_head.h"

#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace postrider {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

// True when the last line was the end of the final answer's head.
bool TakeAll(AnswerHead& head, const std::vector<const char*>& lines, bool keeps_headers = false) {
  head.Begin(keeps_headers);
  bool over = false;
  for (const char* line : lines) over = head.Take(line);
  return over;
}

TEST(AnswerHeadTest, TellsWhereTheFinalHeadEnds) {
  AnswerHead head;
  EXPECT_FALSE(TakeAll(head, {"HTTP/1.1 100 Continue", ""}));
  EXPECT_FALSE(TakeAll(head, {"HTTP/1.1 200 OK", "X: y"}));
  EXPECT_TRUE(TakeAll(head, {"HTTP/1.1 103 Early", "X: y", "", "HTTP/1.1 200 OK", ""}));
  EXPECT_FALSE(TakeAll(head, {"HTTP/1.1 nonsense", ""}));
  EXPECT_FALSE(TakeAll(head, {"HTTP/1.1", ""}));
}

TEST(AnswerHeadTest, KeepsHeadersOfTheFinalAnswerWhenTheyAreWanted) {
  AnswerHead head;
  TakeAll(head, {"HTTP/1.1 103 Early", "Retry-After: 1", "", "HTTP/1.1 200 OK", "no header",
                 "X:  y ", "RETRY-AFTER:\t120 ", ""},
          true);
  EXPECT_THAT(head.headers, ElementsAre(HttpHeader{"X", "y"}, HttpHeader{"RETRY-AFTER", "120"}));
  EXPECT_EQ(head.retry_after, "120");
  TakeAll(head, {"HTTP/1.1 200 OK", "X: y", "retry-after: 5"});
  EXPECT_THAT(head.headers, IsEmpty());
  EXPECT_EQ(head.retry_after, "5");
  head.Begin(false);
  EXPECT_EQ(head.retry_after, "");
}

TEST(AnswerHeadTest, TheContentLengthHoldsOnlyForIdentity) {
  AnswerHead head;
  TakeAll(head, {"HTTP/1.1 200 OK", "Content-Length: 7", "Transfer-Encoding:  IDENTITY"});
  EXPECT_EQ(head.BodyLength(), 7u);
  TakeAll(head, {"HTTP/1.1 200 OK", "transfer-encoding: identity"});
  EXPECT_EQ(head.BodyLength(), std::nullopt);
  TakeAll(head, {"HTTP/1.1 200 OK", "Content-Length: 7"});
  EXPECT_EQ(head.BodyLength(), std::nullopt) << "libcurl knows it";
  TakeAll(head, {"HTTP/1.1 200 OK", "Content-Length: 7", "Transfer-Encoding: identity",
                 "Transfer-Encoding: chunked"});
  EXPECT_EQ(head.BodyLength(), std::nullopt);
  TakeAll(head, {"HTTP/1.1 200 OK", "Content-Length: -7", "Transfer-Encoding: identity"});
  EXPECT_EQ(head.BodyLength(), std::nullopt);
}

TEST(AnswerHeadTest, A408ThatClosesGivesUpWaiting) {
  AnswerHead head;
  TakeAll(head, {"HTTP/1.1 408 Request Timeout", "connection: Close", ""});
  EXPECT_TRUE(head.GivesUpWaiting());
  TakeAll(head, {"HTTP/1.0 408 Request Time-out", ""});
  EXPECT_TRUE(head.GivesUpWaiting());
  TakeAll(head, {"HTTP/1.1 408 Request Timeout", ""});
  EXPECT_FALSE(head.GivesUpWaiting());
  TakeAll(head, {"HTTP/1.1 503 Service Unavailable", "Connection: close", ""});
  EXPECT_FALSE(head.GivesUpWaiting());
}

}  // namespace
}  // namespace postrider
