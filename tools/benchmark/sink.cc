#include "tools/benchmark/sink.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>

#include "absl/strings/str_cat.h"
#include "tools/benchmark/environment.h"
#include "tools/benchmark/sink_loop.h"

namespace postrider::bench {

Sink::Sink() : board_(NewSinkBoard()) {
  SinkLoop loop(board_);
  const pid_t parent = getpid();
  pid_ = fork();
  if (pid_ < 0) Fail(absl::StrCat("starting the sink: ", std::strerror(errno)));
  if (pid_ != 0) {
    loop.CloseAll();
    return;
  }
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(1);
  loop.Run();
}

Sink::~Sink() {
  kill(pid_, SIGKILL);
  waitpid(pid_, nullptr, 0);
  munmap(board_, sizeof(Board));
}

std::string Sink::Url(int port, char kind, int number) const {
  return absl::StrCat("http://127.0.0.1:", port, "/", std::string(1, kind), "/", number);
}

std::string Sink::HealthyUrl(int number) const {
  return Url(board_->ports[static_cast<size_t>(number % kPorts)], 'h', number);
}

std::string Sink::SlowUrl(int number) const {
  return Url(board_->ports[static_cast<size_t>(number % kPorts)], 's', number);
}

std::string Sink::BlackHoleUrl(int number) const {
  return Url(board_->black_hole_ports[static_cast<size_t>(number)], 'b', number);
}

void Sink::SetHang(bool hang) { board_->hang = hang; }
void Sink::SetSlow(bool slow) { board_->slow = slow; }

void Sink::SetBlackHoles(bool open) {
  board_->black_holes_wanted = open;
  const int64_t until_ns = NowNs() + 5'000'000'000;
  while (board_->black_holes_open != open) {
    if (NowNs() > until_ns) Fail("the sink does not open or close its black holes");
    usleep(1000);
  }
}

int64_t Sink::deliveries() const { return board_->deliveries; }
int64_t Sink::first_ns() const { return board_->first_ns; }

void Sink::Restart() {
  board_->deliveries = 0;
  board_->first_ns = 0;
}

void Sink::WaitForDeliveries(int64_t count, int64_t timeout_ns) const {
  const int64_t until_ns = NowNs() + timeout_ns;
  while (deliveries() < count) {
    if (NowNs() > until_ns) {
      Fail(absl::StrCat("only ", deliveries(), " of ", count, " deliveries came in time"));
    }
    usleep(1000);
  }
}

void Sink::Record(bool record) {
  board_->record = false;
  board_->sample_count = 0;
  board_->record = record;
}

std::vector<int64_t> Sink::Samples() const {
  const int64_t count = board_->sample_count;
  if (count > Board::kMaxSamples) Fail("the sink has no room for so many samples");
  std::vector<int64_t> samples(board_->samples, board_->samples + count);
  std::sort(samples.begin(), samples.end());
  return samples;
}

}  // namespace postrider::bench
